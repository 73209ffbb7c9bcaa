/*
 * inspect.c - `drivetrain inspect`: everything a stranger wants to know of a model, nothing executed.
 */
#include "cli/common.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const option_spec options[] = {
    {"tensors", 0, OPTION_FLAG, NULL, "list every tensor: the file's name, and the canonical one"},
    {"check", 0, OPTION_FLAG, NULL, "read every byte; exit 1 on NaN, infinities, unreadable pages"},
    {"tokenizer", 0, OPTION_TEXT, "PATH", "tokenizer, where the model's folder lacks one"},
    MODEL_OPTIONS,
    {NULL, 0, OPTION_FLAG, NULL, NULL},
};

/* Elements and bytes by stored type, of the tensors that belong to the model. */
typedef struct type_totals {
    int64_t elements[DT_DTYPE_COUNT];
    uint64_t bytes[DT_DTYPE_COUNT];
} type_totals;

static int64_t elements_of(const dt_checkpoint_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

static type_totals totals_of(const dt_checkpoint *c)
{
    type_totals totals = {{0}, {0}};
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++)
        if (t.canonical) {
            totals.elements[t.dtype] += elements_of(&t);
            totals.bytes[t.dtype] += t.bytes;
        }
    return totals;
}

/* ---- the parts of a model with eyes ---- */

enum { PARTS = 3 };

static const struct {
    dt_config_part part;
    const char *name;
} part_list[PARTS] = {
    {DT_PART_LANGUAGE, "language"}, {DT_PART_TOWER, "tower"}, {DT_PART_PROJECTOR, "projector"}};

typedef struct part_sizes {
    int64_t parameters[PARTS];
    uint64_t bytes[PARTS];
} part_sizes;

static int part_of(const char *canonical)
{
    int i = 0;
    while (part_list[i].part != dt_config_part_of(canonical))
        i++;
    return i;
}

static part_sizes parts_of(const dt_checkpoint *c)
{
    part_sizes sizes = {{0}, {0}};
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++)
        if (t.canonical) {
            sizes.parameters[part_of(t.canonical)] += elements_of(&t);
            sizes.bytes[part_of(t.canonical)] += t.bytes;
        }
    return sizes;
}

/* A part's configuration; NULL: the model has no such part. */
static const dt_model_config *config_of(const dt_model_config *c, int part)
{
    return part_list[part].part == DT_PART_LANGUAGE ? c
           : part_list[part].part == DT_PART_TOWER  ? c->vision
                                                    : c->projection;
}

/* ---- JSON ---- */

static json_t *config_json(const dt_model_config *c)
{
    json_t *json = json_object();
    json_object_set_new(json, "family", json_string(c->family));
#define INT(field, key, initial, extension)                                                                  \
    if (!(extension) || c->field != (initial))                                                               \
        json_object_set_new(json, key, json_integer(c->field));
#define REAL(field, key, initial, extension)                                                                 \
    if (!(extension) || c->field != (initial))                                                               \
        json_object_set_new(json, key, json_real(c->field));
#define BOOL(field, key, initial, extension)                                                                 \
    if (!(extension) || c->field != (initial))                                                               \
        json_object_set_new(json, key, json_boolean(c->field));
#define ENUM(field, key, type, initial, extension)                                                           \
    if (!(extension) || c->field != (initial))                                                               \
        json_object_set_new(json, key, json_string(type##_name(c->field)));
#include <drivetrain/config.def>
#undef INT
#undef REAL
#undef BOOL
#undef ENUM
    if (c->window_left >= 0) {
        json_t *windows = json_array();
        for (int64_t i = 0; i < c->num_layers; i++)
            json_array_append_new(windows, json_integer(dt_config_layer_window(c, i)));
        json_object_set_new(json, "window_left", windows); /* a layer: keys before a query's own; -1: all */
    }
    json_t *eos = json_array();
    for (int i = 0; i < c->eos_count; i++)
        json_array_append_new(eos, json_integer(c->eos_token_ids[i]));
    json_object_set_new(json, "eos_token_id", eos);
    return json;
}

static json_t *parts_json(const dt_checkpoint *c)
{
    const dt_model_config *config = dt_checkpoint_config(c);
    part_sizes sizes = parts_of(c);
    json_t *json = json_object();
    for (int i = 0; i < PARTS && config->vision; i++)
        if (config_of(config, i))
            json_object_set_new(json, part_list[i].name,
                                json_pack("{s:I, s:I, s:o}", "parameters", (json_int_t)sizes.parameters[i],
                                          "bytes", (json_int_t)sizes.bytes[i], "config",
                                          config_json(config_of(config, i))));
    return json;
}

static json_t *tensors_json(const dt_checkpoint *c)
{
    json_t *list = json_array();
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++) {
        json_t *shape = json_array();
        for (int k = 0; k < t.rank; k++)
            json_array_append_new(shape, json_integer(t.dim[k]));
        json_array_append_new(list, json_pack("{s:s, s:s?, s:o, s:s, s:I, s:s}", "name", t.name, "canonical",
                                              t.canonical, "shape", shape, "dtype", dt_dtype_name(t.dtype),
                                              "bytes", (json_int_t)t.bytes, "file", t.file ? t.file : ""));
    }
    return list;
}

static json_t *inspect_json(const dt_checkpoint *c, const dt_tokenizer *tokenizer)
{
    dt_checkpoint_about a = dt_checkpoint_describe(c);
    const dt_model_config *config = dt_checkpoint_config(c);
    type_totals totals = totals_of(c);
    json_t *dtypes = json_object(), *problems = json_array();
    for (int i = 0; i < DT_DTYPE_COUNT; i++)
        if (totals.elements[i])
            json_object_set_new(dtypes, dt_dtype_name((dt_dtype)i), json_integer(totals.elements[i]));
    for (int i = 0; dt_checkpoint_problem_at(c, i); i++)
        json_array_append_new(problems, json_string(dt_checkpoint_problem_at(c, i)));
    json_t *words = tokenizer ? json_pack("{s:s, s:i}", "kind", dt_tokenizer_kind(tokenizer), "vocab_size",
                                          (int)dt_tokenizer_vocab_size(tokenizer))
                              : json_null();
    json_t *parallel = json_pack("{s:I, s:I, s:I, s:I}", "tensor", (json_int_t)a.tensor_parallel, "pipeline",
                                 (json_int_t)a.pipeline_parallel, "virtual_pipeline",
                                 (json_int_t)a.virtual_pipeline, "expert", (json_int_t)a.expert_parallel);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                             "format", a.format, "model_type", config->model_type, "family", config->family,
                             "written_by", config->written_by, "parameters", (json_int_t)a.parameters,
                             "bytes", (json_int_t)a.bytes, "dtypes", dtypes, "parallel", parallel,
                             "iteration", a.iteration >= 0 ? json_integer(a.iteration) : json_null(),
                             "config", config_json(config), "tokenizer", words, "tensors", tensors_json(c),
                             "skipped", skipped_json(c), "problems", problems);
    if (config->vision)
        json_object_set_new(json, "parts", parts_json(c));
    return json;
}

/* ---- for people ---- */

static void print_size(const dt_checkpoint_about *a, const type_totals *totals)
{
    char number[32], size[16];
    grouped_digits(a->parameters, number);
    dt_human_bytes(a->bytes, size);
    printf("parameters   %s (%s)\n", number, size);
    printf("stored as   ");
    for (int i = 0; i < DT_DTYPE_COUNT; i++)
        if (totals->elements[i]) {
            dt_human_bytes(totals->bytes[i], size);
            printf(" %s %s", dt_dtype_name((dt_dtype)i), size);
        }
    printf("\n");
}

/* Each part's size, then what it is made of. */
static void print_parts(const dt_checkpoint *c)
{
    const dt_model_config *config = dt_checkpoint_config(c);
    part_sizes sizes = parts_of(c);
    for (int i = 0; i < PARTS; i++) {
        char number[32], size[16];
        if (!config_of(config, i))
            continue;
        grouped_digits(sizes.parameters[i], number);
        dt_human_bytes(sizes.bytes[i], size);
        printf("\n%-12s %s parameters (%s)\n", part_list[i].name, number, size);
        print_anatomy(config_of(config, i));
    }
    printf("\n");
}

static void print_layout(const dt_checkpoint_about *a)
{
    if (a->tensor_parallel * a->pipeline_parallel * a->expert_parallel > 1)
        printf("layout       tensor %lld x pipeline %lld (virtual %lld) x expert %lld\n",
               (long long)a->tensor_parallel, (long long)a->pipeline_parallel, (long long)a->virtual_pipeline,
               (long long)a->expert_parallel);
    if (a->iteration >= 0)
        printf("iteration    %lld\n", (long long)a->iteration);
}

/* Tensors of one rule, or of one kind of rule. */
typedef struct skipped {
    const char *rule;
    int count;
    uint64_t bytes;
} skipped;

enum { RULES = 32 };

/* "copy of NAME" is another rule for every tensor; here they are one. */
static int skipped_by_rule(const dt_checkpoint *c, skipped list[RULES])
{
    int n = 0;
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++) {
        const char *rule = t.rule && strncmp(t.rule, "copy of ", 8) == 0 ? "copies of other tensors" : t.rule;
        int k = 0;
        while (rule && k < n && strcmp(list[k].rule, rule) != 0)
            k++;
        if (!rule || k == RULES)
            continue;
        if (k == n)
            list[n++] = (skipped){.rule = rule};
        list[k].count++;
        list[k].bytes += t.bytes;
    }
    return n;
}

static const skipped *skipped_under(const skipped *list, int count, const char *rule)
{
    for (int i = 0; i < count; i++)
        if (strcmp(list[i].rule, rule) == 0)
            return &list[i];
    return NULL;
}

static void print_skipped(const skipped *list, int count)
{
    char size[16];
    for (int k = 0; k < count; k++) {
        dt_human_bytes(list[k].bytes, size);
        printf("%-12s %d %s, %s\n", k ? "" : "skipped", list[k].count, list[k].rule, size);
    }
}

static bool has_masters(const dt_checkpoint *c)
{
    dt_checkpoint_tensor t;
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++)
        if (t.rule && strcmp(t.rule, "optimizer") == 0 && strstr(t.name, "fp32_"))
            return true;
    return false;
}

/* What a run left beside the weights, where Megatron wrote them. */
static void print_leftovers(const dt_checkpoint *c, const dt_checkpoint_about *a, const skipped *list,
                            int count)
{
    char size[16];
    const skipped *optimizer = skipped_under(list, count, "optimizer");
    if (strncmp(a->format, "megatron", 8) != 0 && strcmp(a->format, "nemo") != 0)
        return;
    dt_human_bytes(optimizer ? optimizer->bytes : 0, size);
    if (optimizer)
        printf("optimizer    %d tensors, %s%s\n", optimizer->count, size,
               has_masters(c) ? "; unrounded masters among them (--weights master)" : "");
    else
        printf("optimizer    none\n");
}

/* "decoder.layers.0 … 3.mlp.linear_fc1.weight": a tensor of all layers of a stack. */
static void print_canonical(const dt_checkpoint_tensor *t)
{
    const char *layers = strstr(t->name, ".layers."), *first = strstr(t->canonical, ".layers.0.");
    bool stacked = layers && first && (layers[8] < '0' || layers[8] > '9') && t->rank > 1 && t->dim[0] > 1;
    if (stacked)
        printf("    = %.*s.layers.0 … %lld%s\n", (int)(first - t->canonical), t->canonical,
               (long long)t->dim[0] - 1, first + strlen(".layers.0"));
    else if (strcmp(t->canonical, t->name) != 0)
        printf("    = %s\n", t->canonical);
}

/* A name and its type and shape on one line where 80 columns hold them, else on two. */
static void print_tensors(const dt_checkpoint *c)
{
    dt_checkpoint_tensor t;
    printf("\n");
    for (int i = 0; dt_checkpoint_tensor_at(c, i, &t); i++) {
        char shape[64] = "";
        size_t at = 0;
        for (int k = 0; k < t.rank; k++)
            at +=
                (size_t)snprintf(shape + at, sizeof shape - at, "%s%lld", k ? "x" : "", (long long)t.dim[k]);
        if (strlen(t.name) > 58)
            printf("%s\n%-58s %-5s %s\n", t.name, "", dt_dtype_name(t.dtype), shape);
        else
            printf("%-58s %-5s %s\n", t.name, dt_dtype_name(t.dtype), shape);
        if (t.rule)
            printf("    skipped: %s\n", t.rule);
        else if (t.canonical)
            print_canonical(&t);
    }
}

static void print_inspect(const dt_checkpoint *c, const dt_tokenizer *tokenizer, bool tensors)
{
    dt_checkpoint_about a = dt_checkpoint_describe(c);
    const dt_model_config *config = dt_checkpoint_config(c);
    type_totals totals = totals_of(c);
    skipped list[RULES];
    int count = skipped_by_rule(c, list);
    printf("%s\n", a.path);
    printf("format       %s%s%s\n", a.format, config->written_by[0] ? ", written by " : "",
           config->written_by);
    printf("model        %s (%s)\n", config->family, config->model_type);
    print_layout(&a);
    print_size(&a, &totals);
    if (config->vision)
        print_parts(c);
    else
        print_anatomy(config);
    if (tokenizer)
        printf("tokenizer    %s, %d tokens\n", dt_tokenizer_kind(tokenizer),
               (int)dt_tokenizer_vocab_size(tokenizer));
    else
        printf("tokenizer    none\n");
    print_leftovers(c, &a, list, count);
    print_skipped(list, count);
    for (int i = 0; dt_checkpoint_problem_at(c, i); i++)
        printf("problem      %s\n", dt_checkpoint_problem_at(c, i));
    if (tensors)
        print_tensors(c);
}

static dt_exit inspect(const command_line *line, dt_checkpoint *c)
{
    dt_error err = {0};
    dt_tokenizer *tokenizer = NULL;
    bool sound = true;
    bool reads = dt_config_reads(dt_checkpoint_config(c)) || text_of(line, "tokenizer");
    if (reads && open_tokenizer(line, line->positional[0], text_of(line, "tokenizer") != NULL, &tokenizer,
                                &err) != DT_OK)
        sound = report_failure(&err) == DT_EXIT_DONE;
    if (flag(line, "check")) {
        dt_error_clear(&err);
        if (dt_checkpoint_check(c, &err) != DT_OK)
            sound = report_failure(&err) == DT_EXIT_DONE;
        else if (!flag(line, "json") && !flag(line, "quiet"))
            fprintf(stderr, "checked: every byte was read\n");
        sound = sound && !dt_checkpoint_problem_at(c, 0); /* the verdict is no */
    }
    if (flag(line, "json"))
        print_json(inspect_json(c, tokenizer));
    else
        print_inspect(c, tokenizer, flag(line, "tensors"));
    dt_tokenizer_close(tokenizer);
    return sound ? DT_EXIT_DONE : DT_EXIT_FAILED;
}

static dt_exit run(const command_line *line)
{
    dt_error err = {0};
    dt_model_options o;
    dt_checkpoint *c;
    if (!model_options_of(line, &o))
        return DT_EXIT_USAGE;
    if (dt_checkpoint_open(&c, line->positional[0], &o.open, &err) != DT_OK)
        return report_failure(&err);
    dt_exit code = inspect(line, c);
    dt_checkpoint_close(c);
    return code;
}

static const char *const positional[] = {"MODEL", "directory or file; its format is found from its content",
                                         NULL};
static const char *const examples[] = {"inspect t5-small/", "inspect iter_0001000/ --tensors --check", NULL};

const command_spec command_inspect = {
    .name = "inspect",
    .summary = "tell what a model is: format, sizes, layout, types, tokenizer",
    .usage = "MODEL [options]",
    .about = "",
    .positional_min = 1,
    .positional_max = 1,
    .positional = positional,
    .options = options,
    .examples = examples,
    .fact = "Files are mapped and never executed; without --check only their headers are read.",
    .run = run,
};
