// A conversation is a list of messages. For every answer it is written out as a whole and tokenized; what the session
// already holds of these tokens stays, the rest is decoded. So the model sees exactly what its template says, whatever
// was edited, forgotten or cut short before, and an answer costs no more than its own turn.
//
// When the context gets full, the oldest exchanges are forgotten, the system message is not.
//
// Ctrl-C stops the answer: the signal sets a flag that is looked at after every token and every batch of the prompt.
#include "cli/chat.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/chat_template.h"
#include "cli/line.h"

enum { ANSWER_ROOM = 256 }; // tokens kept free for an answer, where the context is large enough

typedef struct chat {
    tmac_start *start;
    tmac_sampler *sampler;
    const tmac_program *program;
    const tmac_chat_options *options;
    tmac_chat_template template;
    tmac_line_reader *lines;
    tmac_stop_strings *stop;
    tmac_chat_message *messages; // each text is malloc'ed
    size_t message_count;
    uint32_t *held; // the tokens that the session holds: room for the context
    uint32_t held_count, context;
} chat;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

// -------------------------------------------------------------------------------------------------------- messages

static tmac_status add_message(chat *talk, tmac_chat_role role, const char *text, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    tmac_chat_message *longer =
        realloc(talk->messages, (talk->message_count + 1) * sizeof *talk->messages);
    if (longer) talk->messages = longer;
    if (!copy || !longer) {
        free(copy);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a message");
    }
    if (bytes) memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    talk->messages[talk->message_count++] = (tmac_chat_message){role, copy, bytes};
    // cppcheck-suppress memleak; the conversation owns it
    return tmac_ok();
}

static void remove_message(chat *talk, size_t index)
{
    free((char *)talk->messages[index].text);
    talk->message_count--;
    memmove(&talk->messages[index], &talk->messages[index + 1],
            (talk->message_count - index) * sizeof *talk->messages);
}

static tmac_status reset(chat *talk, const char *system)
{
    while (talk->message_count)
        remove_message(talk, talk->message_count - 1);
    return system && system[0] ? add_message(talk, TMAC_CHAT_SYSTEM, system, strlen(system))
                               : tmac_ok();
}

// Removes the oldest message of the user and what answered it; false where only the last one is left.
static bool forget_oldest(chat *talk)
{
    size_t first = 0;
    while (first < talk->message_count && talk->messages[first].role == TMAC_CHAT_SYSTEM)
        first++;
    if (first + 1 >= talk->message_count) return false;
    do
        remove_message(talk, first);
    while (first + 1 < talk->message_count && talk->messages[first].role != TMAC_CHAT_USER);
    return true;
}

// The tokens of the conversation, made to leave room for an answer. The caller frees *tokens.
static tmac_status fit(chat *talk, uint32_t **tokens, size_t *count)
{
    const uint32_t room = talk->context / 4 < ANSWER_ROOM ? talk->context / 4 : ANSWER_ROOM;
    uint32_t forgotten = 0;
    for (;;) {
        TMAC_TRY(tmac_chat_template_encode(&talk->template, talk->start->tokenizer, talk->messages,
                                           talk->message_count, true, tokens, count));
        if (*count + room <= talk->context || !forget_oldest(talk)) break;
        free(*tokens);
        forgotten++;
    }
    if (forgotten && !talk->options->quiet)
        fprintf(stderr,
                "%s: the context of %u tokens is full: the oldest %u exchange%s forgotten\n",
                talk->program->name, talk->context, forgotten, forgotten == 1 ? " was" : "s were");
    if (*count > 0 && *count < talk->context) return tmac_ok();
    const size_t needed = *count;
    free(*tokens);
    *tokens = NULL;
    if (needed == 0) return tmac_fail(TMAC_USAGE, "the template makes no tokens of the message");
    return tmac_fail(TMAC_UNSUPPORTED,
                     "the message has %zu tokens with its system message, but the model's context "
                     "holds %u: it is left out",
                     needed, talk->context);
}

// ---------------------------------------------------------------------------------------------------------- answer

typedef struct answer {
    FILE *text; // collects it
    tmac_utf8_stream utf8;
    bool ended; // by a stop string
} answer;

static void show(answer *to, const char *bytes, size_t count)
{
    if (!count) return;
    fwrite(bytes, 1, count, to->text);
    while (count) {
        char out[256 + 4];
        const size_t part = count < 256 ? count : 256;
        const size_t whole = tmac_utf8_feed(&to->utf8, bytes, part, out);
        fwrite(out, 1, whole, stdout);
        bytes += part;
        count -= part;
    }
}

static tmac_status show_token(chat *talk, answer *to, uint32_t token)
{
    size_t count;
    const char *bytes = tmac_tokenizer_piece(talk->start->tokenizer, token, false, &count);
    if (talk->stop) to->ended = tmac_stop_strings_feed(talk->stop, bytes, count, &bytes, &count);
    show(to, bytes, count);
    if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_ok();
}

// Makes the session hold exactly these tokens; *logits follow the last of them.
static tmac_status decode(chat *talk, const uint32_t *tokens, uint32_t count, const float **logits)
{
    uint32_t at = 0;
    while (at < talk->held_count && at + 1 < count && talk->held[at] == tokens[at])
        at++;
    tmac_session_truncate(talk->start->session, at);
    talk->held_count = at;
    while (at < count && !interrupted) {
        const uint32_t left = count - at;
        const uint32_t part = left < talk->start->batch ? left : talk->start->batch;
        TMAC_TRY(
            tmac_start_decode(talk->start, tokens, at, part, false, part == left ? logits : NULL));
        memcpy(talk->held + at, tokens + at, part * sizeof *tokens);
        talk->held_count = at += part;
    }
    tmac_sampler_forget(talk->sampler);
    for (uint32_t i = 0; i < count; i++)
        tmac_sampler_accept(talk->sampler, tokens[i]);
    return tmac_ok();
}

// Tokens until one that ends the turn, a stop string, Ctrl-C, --tokens or the end of the context.
static tmac_status generate(chat *talk, answer *to, const float *logits, uint32_t *count)
{
    const uint64_t most = talk->options->answer_max ? talk->options->answer_max : UINT64_MAX;
    for (*count = 0; *count < most && !interrupted && logits;) {
        const uint32_t token = tmac_sample(talk->sampler, logits);
        if (tmac_tokenizer_is_stop(talk->start->tokenizer, token) ||
            (int32_t)token == tmac_tokenizer_bos(talk->start->tokenizer))
            break;
        ++*count;
        tmac_sampler_accept(talk->sampler, token);
        TMAC_TRY(show_token(talk, to, token));
        if (to->ended || *count == most) break;
        if (talk->held_count == talk->context) {
            fprintf(stderr, "\n%s: the context of %u tokens is full: the answer ends here",
                    talk->program->name, talk->context);
            break;
        }
        talk->held[talk->held_count] = token;
        TMAC_TRY(tmac_start_decode(talk->start, talk->held, talk->held_count, 1, false, &logits));
        talk->held_count++;
    }
    return tmac_ok();
}

static tmac_status speak(chat *talk, answer *to, uint32_t *generated)
{
    uint32_t *tokens;
    size_t count;
    const float *logits = NULL;
    TMAC_TRY(fit(talk, &tokens, &count));
    tmac_status status = decode(talk, tokens, (uint32_t)count, &logits);
    free(tokens);
    if (status.code != TMAC_OK) return status;
    status = generate(talk, to, logits, generated);
    const char *rest = NULL;
    size_t rest_bytes = 0;
    if (talk->stop && !to->ended) tmac_stop_strings_flush(talk->stop, &rest, &rest_bytes);
    show(to, rest, rest_bytes);
    char unfinished[4];
    const size_t left = tmac_utf8_flush(&to->utf8, unfinished);
    fwrite(unfinished, 1, left, stdout);
    fputs(interrupted ? " [stopped]\n" : "\n", stdout);
    return status;
}

// Answers the last message. A failure that concerns this message alone is reported and undone.
static tmac_status answer_message(chat *talk)
{
    char *text = NULL;
    size_t bytes = 0;
    if (talk->options->stop->count)
        TMAC_TRY(tmac_stop_strings_new(talk->options->stop->items, talk->options->stop->count,
                                       &talk->stop));
    answer to = {.text = open_memstream(&text, &bytes)};
    if (!to.text) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for an answer");
    const struct sigaction stopping = {.sa_handler = interrupt};
    struct sigaction before;
    interrupted = 0;
    sigaction(SIGINT, &stopping, &before);
    const uint64_t began = tmac_now_ns();
    uint32_t generated = 0;
    tmac_status status = speak(talk, &to, &generated);
    const double seconds = (double)(tmac_now_ns() - began) * 1e-9;
    sigaction(SIGINT, &before, NULL);
    tmac_stop_strings_free(talk->stop);
    talk->stop = NULL;
    if (fclose(to.text) != 0 && status.code == TMAC_OK)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for an answer");
    if (status.code == TMAC_OK) {
        status = add_message(talk, TMAC_CHAT_ASSISTANT, text, bytes);
        if (!talk->options->quiet && tmac_line_reader_interactive(talk->lines))
            fprintf(stderr, "%s: %u tokens, %.1f s, %u of %u in the context\n", talk->program->name,
                    generated, seconds, talk->held_count, talk->context);
    } else if (status.code == TMAC_UNSUPPORTED || status.code == TMAC_USAGE) {
        fprintf(stderr, "%s: %s\n", talk->program->name, status.message);
        remove_message(talk, talk->message_count - 1);
        status = tmac_ok();
    }
    free(text);
    if (status.code == TMAC_OK && fflush(stdout))
        status = tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return status;
}

// -------------------------------------------------------------------------------------------------------- commands

static const char help[] =
    "/reset          forget the conversation, keep the system message\n"
    "/system TEXT    begin anew with this system message (none: without one)\n"
    "/retry          another answer to the last message\n"
    "/help           this\n"
    "/quit           leave, as Ctrl-D does\n"
    "Ctrl-C stops an answer. A line that ends with \\ goes on in the next one;\n"
    "\"\"\" on a line of its own opens a message of several lines and closes it.\n";

static bool command_is(const char *text, const char *command, const char **argument)
{
    const size_t length = strlen(command);
    if (strncmp(text, command, length) != 0 || (text[length] && text[length] != ' ')) return false;
    *argument = text + length + strspn(text + length, " ");
    return true;
}

static tmac_status run_command(chat *talk, const char *text, bool *leave)
{
    const char *argument;
    const size_t count = talk->message_count;
    const bool system = count && talk->messages[0].role == TMAC_CHAT_SYSTEM;
    *leave = false;
    if (command_is(text, "/quit", &argument) || command_is(text, "/exit", &argument)) {
        *leave = true;
    } else if (command_is(text, "/reset", &argument)) {
        while (talk->message_count > system)
            remove_message(talk, talk->message_count - 1);
    } else if (command_is(text, "/system", &argument)) {
        return reset(talk, argument);
    } else if (command_is(text, "/retry", &argument)) {
        if (count && talk->messages[count - 1].role == TMAC_CHAT_ASSISTANT) {
            remove_message(talk, count - 1);
            return answer_message(talk);
        }
        fputs("There is no answer to replace.\n", stderr);
    } else if (command_is(text, "/help", &argument)) {
        fputs(help, stderr);
    } else {
        fprintf(stderr, "Unknown command; /help lists them.\n");
    }
    return tmac_ok();
}

static tmac_status converse(chat *talk)
{
    const char *text;
    size_t bytes;
    if (tmac_line_reader_interactive(talk->lines) && !talk->options->quiet)
        fputs("/help lists the commands; Ctrl-D leaves.\n", stderr);
    while (tmac_line_read(talk->lines, &text, &bytes)) {
        bool leave = false;
        if (bytes == 0) continue;
        if (text[0] == '/') {
            TMAC_TRY(run_command(talk, text, &leave));
            if (leave) break;
            continue;
        }
        TMAC_TRY(add_message(talk, TMAC_CHAT_USER, text, bytes));
        TMAC_TRY(answer_message(talk));
    }
    if (tmac_line_reader_interactive(talk->lines)) putchar('\n');
    return tmac_ok();
}

tmac_status tmac_chat(tmac_start *start, tmac_sampler *sampler, const tmac_program *program,
                      const tmac_chat_options *options)
{
    chat talk = {.start = start, .sampler = sampler, .program = program, .options = options};
    TMAC_TRY(
        tmac_chat_template_open(options->template, start->source.vocabulary.chat, &talk.template));
    talk.context = tmac_model_context(start->model);
    talk.held = malloc(talk.context * sizeof *talk.held);
    tmac_status status =
        talk.held ? tmac_start_session(start, talk.context)
                  : tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u tokens", talk.context);
    if (status.code == TMAC_OK) status = tmac_line_reader_new(program->name, &talk.lines);
    if (status.code == TMAC_OK) status = reset(&talk, options->system);
    if (status.code == TMAC_OK) status = converse(&talk);
    tmac_line_reader_free(talk.lines);
    tmac_stop_strings_free(talk.stop);
    reset(&talk, NULL);
    free(talk.messages);
    free(talk.held);
    tmac_chat_template_close(&talk.template);
    return status;
}
