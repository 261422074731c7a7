#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

tmac_status tmac_map_open(const char *path, tmac_map *map)
{
    memset(map, 0, sizeof *map);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return tmac_fail(errno == ENOENT ? TMAC_NOT_FOUND : TMAC_IO, "%s: %s", path,
                         strerror(errno));
    struct stat facts;
    tmac_status status = tmac_ok();
    if (fstat(file, &facts) != 0) {
        status = tmac_fail(TMAC_IO, "%s: %s", path, strerror(errno));
    } else if (S_ISDIR(facts.st_mode)) {
        status = tmac_fail(TMAC_BAD_FILE, "%s: is a directory, expected a file", path);
    } else if (!S_ISREG(facts.st_mode)) {
        status = tmac_fail(TMAC_BAD_FILE, "%s: is not a regular file", path);
    } else if (facts.st_size > 0) {
        void *data = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) {
            status = tmac_fail(TMAC_IO, "%s: cannot map: %s", path, strerror(errno));
        } else {
            map->data = data;
            map->bytes = (size_t)facts.st_size;
        }
    }
    close(file);
    return status;
}

void tmac_map_close(tmac_map *map)
{
    if (map->data) munmap((void *)map->data, map->bytes);
    memset(map, 0, sizeof *map);
}

tmac_status tmac_read_stream(FILE *stream, size_t limit, char **text, size_t *bytes)
{
    size_t room = 4096, used = 0;
    char *buffer = malloc(room);
    while (buffer) {
        used += fread(buffer + used, 1, room - used - 1, stream);
        if (used > limit || used < room - 1) break;
        room *= 2;
        char *larger = realloc(buffer, room);
        if (!larger) free(buffer);
        buffer = larger;
    }
    if (!buffer) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory reading input");
    tmac_status status = tmac_ok();
    if (ferror(stream))
        status = tmac_fail(TMAC_IO, "cannot read input: %s", strerror(errno));
    else if (used > limit)
        status = tmac_fail(TMAC_BAD_FILE, "input is longer than %zu bytes", limit);
    if (status.code != TMAC_OK) {
        free(buffer);
        return status;
    }
    buffer[used] = '\0';
    *text = buffer;
    *bytes = used;
    return tmac_ok();
}

tmac_status tmac_output_open(const char *path, tmac_output *output)
{
    memset(output, 0, sizeof *output);
    if (strlen(path) >= sizeof output->path)
        return tmac_fail(TMAC_IO, "the output path is longer than %zu bytes",
                         sizeof output->path - 1);
    struct stat facts;
    if (stat(path, &facts) == 0 && !S_ISREG(facts.st_mode))
        return tmac_fail(TMAC_IO, "%s: exists and is not a regular file", path);
    strcpy(output->path, path);
    snprintf(output->temporary, sizeof output->temporary, "%s.tmp.%ld", path, (long)getpid());
    output->stream = fopen(output->temporary, "wbx");
    if (!output->stream) return tmac_fail(TMAC_IO, "%s: cannot write: %s", path, strerror(errno));
    return tmac_ok();
}

void tmac_output_write(tmac_output *output, const void *data, size_t bytes)
{
    if (output->status.code != TMAC_OK || bytes == 0) return;
    if (fwrite(data, 1, bytes, output->stream) != bytes)
        output->status = tmac_fail(TMAC_IO, "%s: cannot write: %s", output->path, strerror(errno));
    output->offset += bytes;
}

void tmac_output_pad(tmac_output *output, size_t alignment)
{
    static const uint8_t zeros[4096];
    size_t missing = (size_t)((alignment - output->offset % alignment) % alignment);
    while (missing > 0) {
        size_t piece = missing < sizeof zeros ? missing : sizeof zeros;
        tmac_output_write(output, zeros, piece);
        missing -= piece;
    }
}

tmac_status tmac_output_commit(tmac_output *output)
{
    if (output->status.code == TMAC_OK &&
        (fflush(output->stream) != 0 || fsync(fileno(output->stream)) != 0))
        output->status = tmac_fail(TMAC_IO, "%s: cannot write: %s", output->path, strerror(errno));
    if (output->status.code != TMAC_OK) {
        tmac_status status = output->status;
        tmac_output_abort(output);
        return status;
    }
    if (fclose(output->stream) != 0 || rename(output->temporary, output->path) != 0) {
        tmac_status status =
            tmac_fail(TMAC_IO, "%s: cannot write: %s", output->path, strerror(errno));
        unlink(output->temporary);
        return status;
    }
    return tmac_ok();
}

void tmac_output_abort(tmac_output *output)
{
    if (!output->stream) return;
    fclose(output->stream);
    output->stream = NULL;
    unlink(output->temporary);
}
