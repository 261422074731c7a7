// Opening and storing shared objects of kernels.
//
// An object is opened from memory that has no name in any folder: nobody can exchange it between the check of its hash and
// dlopen. The descriptors stay open for the life of the process, because the loader knows objects by their path
// and would take a second /proc/self/fd/5 for the first one.
#include "db/kernels.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "db/store.h"
#include "runtime/kernel_set.h"

#if defined __x86_64__
static const char arch[] = "x86_64";
#elif defined __aarch64__
static const char arch[] = "aarch64";
#else
static const char arch[] = "any";
#endif

enum { ID_DIGITS = 6 };

// ---------------------------------------------------------------------------------------------------------- opening

// A text of the object in memory that outlives nothing: objects are never closed.
static tmac_status check_table(const tmac_kernel_set *set)
{
    if (!set || set->magic != TMAC_KERNEL_SET_MAGIC)
        return tmac_fail(TMAC_BAD_FILE, "the shared object exports no table of kernels");
    if (set->abi != TMAC_KERNEL_ABI || set->kernel_bytes != sizeof(tmac_kernel))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the kernels are for version %u of the contract, this program for %d",
                         set->abi, TMAC_KERNEL_ABI);
    if (set->count > TMAC_KERNEL_SET_MAX)
        return tmac_fail(TMAC_BAD_FILE, "the shared object has too many kernels");
    return tmac_ok();
}

static tmac_status add_set(const tmac_kernel_set *set, uint32_t *added)
{
    const tmac_kernel *pointers[TMAC_KERNEL_SET_MAX];
    size_t count = 0;
    *added = 0;
    for (uint64_t i = 0; i < set->count; i++) {
        char binary[TMAC_HASH_HEX], name[TMAC_NAME_BYTES];
        const tmac_layout *layout = tmac_layout_find(set->layouts[i]);
        tmac_kernel_binary_id(set->kernels[i], binary);
        if (strcmp(binary, set->binary_ids[i]) != 0)
            return tmac_fail(TMAC_BAD_FILE, "%.80s is not what its table says",
                             set->kernels[i]->name);
        // A layout of another build: such kernels cannot serve here, others of the set can.
        if (!layout || snprintf(name, sizeof name, "%s_%.*s", set->kernels[i]->name, ID_DIGITS,
                                binary) >= (int)sizeof name)
            continue;
        if (tmac_kernel_find(name)) continue;
        // Kernel and name live as long as the registry: as long as the process.
        struct named {
            tmac_kernel kernel;
            char name[TMAC_NAME_BYTES];
        } *copy = malloc(sizeof *copy);
        if (!copy) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a kernel");
        memcpy(&copy->kernel, set->kernels[i], sizeof copy->kernel);
        memcpy(copy->name, name, sizeof copy->name);
        copy->kernel.name = copy->name;
        copy->kernel.layout = layout;
        pointers[count++] = &copy->kernel;
    }
    if (count == 0) return tmac_ok();
    *added = (uint32_t)count;
    return tmac_kernels_add(pointers, count);
}

tmac_status tmac_kernels_open(const void *bytes, size_t count, uint32_t *added)
{
    char path[40];
    *added = 0;
    int descriptor = memfd_create("tmac-kernels", MFD_CLOEXEC);
    if (descriptor < 0) return tmac_fail(TMAC_IO, "no memory file for a shared object");
    for (size_t done = 0; done < count;) {
        ssize_t written = write(descriptor, (const char *)bytes + done, count - done);
        if (written <= 0) {
            close(descriptor);
            return tmac_fail(TMAC_IO, "no room for a shared object of %zu bytes", count);
        }
        done += (size_t)written;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        close(descriptor);
        return tmac_fail(TMAC_UNSUPPORTED, "the shared object does not open: %.120s",
                         why ? why : "no reason given");
    }
    const tmac_kernel_set *set = dlsym(handle, TMAC_KERNEL_SET_SYMBOL);
    TMAC_TRY(check_table(set));
    return add_set(set, added);
}

// ---------------------------------------------------------------------------------------------------------- loading

typedef struct loader {
    const tmac_db *db; // the layer
    const tmac_input_set *sets;
    uint32_t count;
    const char *keys; // the path of the database beside which they lie
    tmac_keyring ring;
    bool has_ring; // read when first needed
    tmac_db_loaded *loaded;
} loader;

static bool wanted(const loader *l, const tmac_record *artifact)
{
    if (artifact->version != 1 || strcmp(tmac_record_get(artifact, "arch"), arch) != 0 ||
        tmac_record_get_number(artifact, "abi") != TMAC_KERNEL_ABI)
        return false;
    if (l->count == 0) return true;
    char shapes[TMAC_RECORD_VALUE_BYTES + 2], shape[32];
    snprintf(shapes, sizeof shapes, " %s ", tmac_record_get(artifact, "shapes"));
    for (uint32_t i = 0; i < l->count; i++) {
        snprintf(shape, sizeof shape, " %u/%u ", l->sets[i].columns, l->sets[i].group);
        if (strstr(shapes, shape)) return true;
    }
    return false;
}

static void unusable(tmac_db_loaded *loaded, const tmac_status *status)
{
    loaded->unusable++;
    snprintf(loaded->why, sizeof loaded->why, "%.159s", status->message);
}

static tmac_status load_one(const loader *l, const tmac_record *artifact)
{
    uint8_t *bytes;
    size_t count;
    uint32_t added;
    TMAC_TRY(tmac_db_get_object(l->db, tmac_record_get(artifact, "object"), &bytes, &count));
    tmac_status status = tmac_kernels_open(bytes, count, &added);
    free(bytes);
    l->loaded->kernels += added;
    return status;
}

static tmac_status read_artifact(sqlite3_stmt *row, void *into)
{
    loader *l = into;
    tmac_record artifact;
    tmac_public_key signer;
    const char *text = sqlite3_column_blob(row, 0);
    const size_t bytes = (size_t)sqlite3_column_bytes(row, 0);
    // A record that this program cannot read is from a newer one: passed over.
    if (!text || tmac_record_parse(text, bytes, &artifact).code != TMAC_OK || !wanted(l, &artifact))
        return tmac_ok();
    if (!l->has_ring) TMAC_TRY(tmac_keyring_load(l->keys, &l->ring));
    l->has_ring = true;
    tmac_trust trust = TMAC_TRUST_UNKNOWN;
    if (tmac_record_signer(&artifact, &signer).code == TMAC_OK)
        trust = tmac_keyring_trust(&l->ring, &signer);
    if (trust != TMAC_TRUST_OWN && trust != TMAC_TRUST_TRUSTED) {
        l->loaded->untrusted++;
        snprintf(l->loaded->signer, sizeof l->loaded->signer, "%.44s",
                 tmac_record_get(&artifact, "by"));
        return tmac_ok();
    }
    tmac_status status = load_one(l, &artifact);
    if (status.code != TMAC_OK) unusable(l->loaded, &status);
    return tmac_ok();
}

tmac_status tmac_db_load_kernels(const tmac_db *db, const tmac_input_set *sets, uint32_t count,
                                 tmac_db_loaded *loaded)
{
    memset(loaded, 0, sizeof *loaded);
    if (!db) return tmac_ok();
    // The second condition is the one of the index.
    static const char query[] = "SELECT bytes FROM record WHERE kind = 'artifact'"
                                " AND kind <> 'trial' ORDER BY name";
    loader l = {.db = db, .sets = sets, .count = count, .keys = db->path, .loaded = loaded};
    tmac_status status = db->sqlite ? tmac_store_each(db, query, read_artifact, &l) : tmac_ok();
    for (uint32_t i = 0; i < db->layer_count && status.code == TMAC_OK; i++) {
        l.db = db->layers[i];
        if (l.db->sqlite) status = tmac_store_each(l.db, query, read_artifact, &l);
    }
    if (l.has_ring) tmac_keyring_free(&l.ring);
    return status;
}

// ---------------------------------------------------------------------------------------------------------- storing

// The kernels of the registry that this compiler made and no record of these bytes could name otherwise are found by the
// table of the object itself.
static tmac_status describe(const void *bytes, size_t count, const char *compiler,
                            const tmac_db_name *object, tmac_record *artifact)
{
    char shapes[TMAC_RECORD_VALUE_BYTES] = " ", shape[32], key[16], value[160];
    uint32_t number = 0;
    size_t all;
    const tmac_kernel *const *kernels = tmac_kernels(&all);
    tmac_record_begin(artifact, "artifact", 1);
    tmac_record_string(artifact, "arch", arch);
    tmac_record_number(artifact, "abi", TMAC_KERNEL_ABI);
    tmac_record_string(artifact, "compiler", compiler);
    tmac_record_string(artifact, "object", object->hex);
    for (size_t i = 0; i < all; i++) {
        char binary[TMAC_HASH_HEX];
        uint32_t columns, group;
        if (!tmac_kernel_is_added(kernels[i]) || !tmac_kernel_shape(kernels[i], &columns, &group))
            continue;
        tmac_kernel_binary_id(kernels[i], binary);
        // The table holds the binary ids as text.
        if (!memmem(bytes, count, binary, sizeof binary)) continue;
        if (number == TMAC_ARTIFACT_KERNELS)
            return tmac_fail(TMAC_UNSUPPORTED, "%d kernels at most in one object",
                             TMAC_ARTIFACT_KERNELS);
        snprintf(key, sizeof key, "kernel%u", number++);
        snprintf(value, sizeof value, "%s %s", kernels[i]->name, binary);
        tmac_record_string(artifact, key, value);
        snprintf(shape, sizeof shape, " %u/%u ", columns, group);
        if (!strstr(shapes, shape) && strlen(shapes) + strlen(shape) < sizeof shapes)
            strcat(shapes, shape + 1); // NOLINT: the room was checked
    }
    shapes[strlen(shapes) - 1] = '\0';
    tmac_record_string(artifact, "shapes", shapes + (shapes[0] == ' '));
    return number ? tmac_ok()
                  : tmac_fail(TMAC_INTERNAL, "the object has no kernel of the registry");
}

tmac_status tmac_db_put_kernels(tmac_db *db, const void *bytes, size_t count, const char *compiler)
{
    tmac_key_pair pair;
    tmac_record artifact;
    tmac_db_name object, name;
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash(bytes, count, digest);
    tmac_hash_hex(digest, object.hex);
    TMAC_TRY(describe(bytes, count, compiler, &object, &artifact));
    TMAC_TRY(tmac_key_own(db->path, true, &pair));
    tmac_status status = tmac_record_sign(&artifact, &pair);
    explicit_bzero(&pair, sizeof pair);
    TMAC_TRY(status);
    TMAC_TRY(tmac_db_put_object(db, bytes, count, &object));
    char *text;
    size_t length;
    TMAC_TRY(tmac_record_text(&artifact, &text, &length));
    status = tmac_db_put(db, text, length, &name);
    free(text);
    return status;
}
