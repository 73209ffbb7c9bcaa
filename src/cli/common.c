/*
 * common.c - see common.h.
 */
#include "cli/common.h"

#include "base/text.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void print_log(void *user, dt_log_level level, const char *text)
{
    (void)user;
    fprintf(stderr, "%s%s\n", level == DT_LOG_WARNING ? "warning: " : "", text);
}

static const dt_log quiet_log = {.write = print_log, .verbosity = DT_LOG_WARNING};
static const dt_log verbose_log = {.write = print_log, .verbosity = DT_LOG_DETAIL};

bool model_options_of(const command_line *line, dt_model_options *out)
{
    const char *weights = text_of(line, "weights");
    *out = (dt_model_options){.backend = text_of(line, "backend"),
                              .dtype = text_of(line, "dtype"),
                              .threads = (int)int_of(line, "threads", 0)};
    out->open.config = text_of(line, "config");
    out->open.part = text_of(line, "part");
    out->open.log = flag(line, "verbose") ? &verbose_log : &quiet_log;
    if (weights && strcmp(weights, "model") != 0 && strcmp(weights, "master") != 0)
        return usage_error(line, "--weights \"%s\": expected model or master", weights), false;
    out->open.master_weights = weights && strcmp(weights, "master") == 0;
    if (out->threads < 0 || int_of(line, "threads", 0) > 1024)
        return usage_error(line, "--threads %lld: expected 1 to 1024", (long long)int_of(line, "threads", 0)),
               false;
    apply_memory_limit(line);
    return true;
}

void apply_memory_limit(const command_line *line)
{
    const option_value *limit = option_of(line, "max-memory");
    struct rlimit data = {(rlim_t)limit->number, (rlim_t)limit->number};
    if (limit->given)
        setrlimit(RLIMIT_DATA, &data); /* private memory; mapped files do not count */
}

dt_status open_tokenizer(const command_line *line, const char *model, bool demanded, dt_tokenizer **out,
                         dt_error *err)
{
    const char *path = text_of(line, "tokenizer");
    *out = NULL;
    dt_tokenizer_options o = {.keep_case = flag(line, "no-lowercase"), .split = text_of(line, "split")};
    dt_status status = dt_tokenizer_open_with(out, path ? path : model, &o, err);
    if (status == DT_NOT_FOUND && !demanded && !path) {
        dt_error_clear(err);
        return DT_OK;
    }
    if (status == DT_NOT_FOUND)
        dt_error_try(err, "--tokenizer PATH, or ids instead of text: --tokens 1,2,3");
    return status;
}

void print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    fputc('\n', stdout);
    json_decref(json);
}

json_t *beyond_megatron_json(const dt_model_config *config)
{
    json_t *keys = json_array();
    for (int i = 0; dt_config_beyond_megatron(config, i); i++)
        json_array_append_new(keys, json_string(dt_config_beyond_megatron(config, i)));
    return keys;
}

void print_beyond_megatron(const dt_model_config *config)
{
    const char *key;
    int column = 0;
    for (int i = 0; (key = dt_config_beyond_megatron(config, i)); i++) {
        bool fits = column + 2 + (int)strlen(key) <= 80;
        column = (i && fits ? column + 2 : i ? 4 : printf("unlike stock Megatron: ")) + (int)strlen(key);
        printf("%s%s", !i ? "" : fits ? ", " : ",\n    ", key);
    }
    if (column)
        printf("\n");
}

json_t *skipped_json(const dt_checkpoint *c)
{
    json_t *list = json_array();
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++)
        if (t.rule)
            json_array_append_new(list, json_pack("{s:s, s:s}", "name", t.name, "rule", t.rule));
    return list;
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t peak_resident_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

/* ---- interrupts ---- */

static volatile sig_atomic_t interrupt_count;

static void on_interrupt(int number)
{
    interrupt_count++;
    signal(number, SIG_DFL); /* a second Ctrl-C ends the program at once */
}

void catch_interrupt(void)
{
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
}

bool interrupted(void)
{
    return interrupt_count > 0;
}

/* ---- progress ---- */

progress progress_start(const command_line *line, const char *what)
{
    return (progress){.what = what,
                      .quiet = flag(line, "quiet"),
                      .terminal = isatty(STDERR_FILENO),
                      .started = seconds_now()};
}

static void show_bar(progress *p, uint64_t done, uint64_t total, double now)
{
    char rate[16], all[16];
    double elapsed = now - p->started, share = total ? (double)done / (double)total : 1;
    if (elapsed < 1 || now - p->shown < 0.1)
        return;
    dt_human_bytes((uint64_t)((double)done / elapsed), rate);
    dt_human_bytes(total, all);
    fprintf(stderr, "\r%s %3.0f %% of %s, %s/s, %.0f s left   ", p->what, 100 * share, all, rate,
            share > 0 ? elapsed * (1 - share) / share : 0.0);
    p->shown = now;
}

static void show_line(progress *p, uint64_t done, uint64_t total, double now)
{
    int tenth = total ? (int)(10 * (double)done / (double)total) : 10;
    if (tenth <= p->tenth || now - p->started < 1)
        return;
    p->tenth = tenth;
    fprintf(stderr, "%s %d %%\n", p->what, 10 * tenth);
}

bool progress_show(void *user, uint64_t done, uint64_t total)
{
    progress *p = user;
    if (!p->quiet)
        (p->terminal ? show_bar : show_line)(p, done, total, seconds_now());
    return !interrupted();
}

void progress_end(progress *p)
{
    if (p->shown > 0)
        fprintf(stderr, "\r%60s\r", "");
}

/* ---- small readers ---- */

bool parse_ids(const char *text, int32_t **ids, size_t *count)
{
    size_t limit = strlen(text) / 2 + 1;
    const char *p = text + strspn(text, " [");
    *count = 0;
    *ids = malloc(limit * sizeof **ids);
    while (*ids && *p) {
        char *end;
        long long id = strtoll(p, &end, 10);
        if (end == p || id < INT32_MIN || id > INT32_MAX)
            break;
        (*ids)[(*count)++] = (int32_t)id;
        p = end + strspn(end, ", ]\n");
    }
    if (*ids && !*p && *count)
        return true;
    free(*ids);
    *ids = NULL;
    return false;
}

dt_status read_stream(FILE *file, char **text, size_t *bytes, dt_error *err)
{
    size_t capacity = 1 << 16, got;
    *bytes = 0;
    *text = malloc(capacity);
    while (*text && (got = fread(*text + *bytes, 1, capacity - *bytes - 1, file)) > 0) {
        *bytes += got;
        if (*bytes + 1 < capacity)
            continue;
        char *larger = realloc(*text, capacity *= 2);
        if (!larger)
            free(*text);
        *text = larger;
    }
    if (!*text)
        return dt_fail_memory(err, capacity, "the input");
    (*text)[*bytes] = '\0';
    if (!ferror(file))
        return DT_OK;
    free(*text);
    return dt_fail_errno(err, "reading the input", "stdin");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int list_folder(const char *path, char **names, int limit)
{
    DIR *folder = opendir(path);
    int count = 0;
    for (struct dirent *entry; folder && count < limit && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && (names[count] = strdup(entry->d_name)))
            count++;
    if (folder)
        closedir(folder);
    qsort(names, (size_t)count, sizeof *names, by_name);
    return count;
}

void grouped_digits(int64_t n, char out[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && digits[i - 1] != '-' && (length - i) % 3 == 0)
            out[at++] = ' ';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}
