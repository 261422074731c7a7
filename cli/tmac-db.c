// tmac-db: the tuning database as a product. One table of subcommands; each is a function of cli/db_*.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "cli/db_commands.h"
#include "db/kernels.h"

static const struct {
    const char *name;
    size_t least, most; // operands
    bool opens;         // with its layers, for reading
    tmac_status (*run)(const db_context *context);
} commands[] = {
    {"status", 0, 0, true, db_status},   {"plan", 1, 1, true, db_plan},
    {"export", 1, 1, false, db_export},  {"import", 1, 1000, false, db_import},
    {"merge", 1, 1000, false, db_merge}, {"verify", 0, 1, false, db_verify},
    {"key", 1, 2, false, db_key},        {"gc", 0, 0, false, db_gc},
    {"doctor", 0, 0, true, db_doctor},   {"explain", 1, 1, true, db_explain},
    {"compare", 2, 2, true, db_compare}, {"sql", 0, 1, true, db_sql},
    {"report", 1, 1, true, db_report},   {"push", 1, 1, false, db_push},
    {"pull", 1, 1, false, db_pull},
};

static tmac_status run(db_context *c, char **operands, size_t count)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, operands[0]) != 0) continue;
        c->operands = operands + 1;
        c->count = count - 1;
        if (c->count < commands[i].least || c->count > commands[i].most)
            return tmac_fail(TMAC_USAGE, "%s: %s operands; try tmac-db --help", operands[0],
                             c->count < commands[i].least ? "too few" : "too many");
        tmac_host_probe(&c->host);
        if (!c->fleet) c->fleet = getenv("TMAC_FLEET");
        if (commands[i].opens) TMAC_TRY(tmac_db_open_layers(c->path, c->fleet, &c->db));
        // Answers are about the kernels that tmac-run would have.
        tmac_db_loaded loaded;
        tmac_status status = tmac_db_load_kernels(c->db, NULL, 0, &loaded);
        if (status.code == TMAC_OK) status = commands[i].run(c);
        tmac_db_close(c->db);
        return status;
    }
    return tmac_fail(TMAC_USAGE, "unknown command '%s'; try tmac-db --help", operands[0]);
}

int main(int argc, char **argv)
{
    static db_context c;
    const tmac_option options[] = {
        {0, "db", TMAC_OPTION_STRING, &c.path, "FILE",
         "the database (default: $TMAC_DB, else tmac/tune.db of the user's data)"},
        {0, "fleet", TMAC_OPTION_STRING, &c.fleet, "FILES",
         "look up these databases and exports too, separated by ':' (default: $TMAC_FLEET)"},
        {'j', "threads", TMAC_OPTION_UNSIGNED, &c.threads, "N",
         "explain or plan for this many threads (default: all that were measured; the usual)"},
        {0, "emit-c", TMAC_OPTION_STRING, &c.emit, "DIR",
         "plan: write it as C, for a static tmac-run with nothing but its kernels"},
        {0, "name", TMAC_OPTION_STRING, &c.name, "NAME", "a name for the key, for people"},
        {0, "no-kernels", TMAC_OPTION_FLAG, &c.no_kernels, NULL, "export without compiled kernels"},
        {0, "no-sign", TMAC_OPTION_FLAG, &c.no_sign, NULL,
         "export without sealing what was measured here"},
        {0, "no-check", TMAC_OPTION_FLAG, &c.no_check, NULL,
         "import without proving kernels exact on this host"},
        {0, "dry-run", TMAC_OPTION_FLAG, &c.dry_run, NULL, "gc: say what would go"},
        {0, "json", TMAC_OPTION_FLAG, &c.json, NULL, "print JSON"},
        {0, "csv", TMAC_OPTION_FLAG, &c.csv, NULL, "print CSV"},
        {0},
    };
    const tmac_program program = {
        .name = "tmac-db",
        .purpose = "The tuning database: look into it, share it, check it.",
        .operands = "COMMAND [OPERAND]...",
        .operands_min = 1,
        .operands_max = 1001,
        .details =
            "Commands:\n"
            "  status             hosts, records, what was tuned and what runs here\n"
            "  explain MODEL|SET  every candidate, its figures, why the winner won\n"
            "  plan MODEL         the kernels it would run with here\n"
            "  compare A B        two hosts, by the first digits of their names\n"
            "  doctor             is what was measured still about this host?\n"
            "  sql [STATEMENT]    a read-only prompt\n"
            "  export FILE        seal what was measured here, write one canonical file\n"
            "  import FILE...     take over what trusted signers sealed, keep the rest aside\n"
            "  merge FILE...      take over your own databases and exports\n"
            "  report FILE        all of it on one page of HTML\n"
            "  push URL, pull URL give to and take from a hub, postgres://...\n"
            "  verify [FILE]      check the database, or an export, completely\n"
            "  key new|list|trust KEY|revoke KEY\n"
            "  gc                 drop what no lookup can use",
        .options = options,
    };
    char **operands;
    size_t count;
    tmac_options_parse(&program, argc, argv, &operands, &count);
    tmac_status status = run(&c, operands, count);
    return status.code == TMAC_OK ? 0 : tmac_report(&program, status);
}
