/*
 * parity.c - writes the proof of an export down, as JSON and for people: which files, with their hashes, how far each point is
 * from the source's, what is allowed and why, and where the two first part.
 */
#include "export/parity.h"

#include "base/json.h"
#include "base/output.h"
#include "base/text.h"

#include <drivetrain/version.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096, DEPTH = 8 };

/* ---- files and their hashes ---- */

static dt_status add_file(json_t *list, const char *path, const char *name, dt_error *err)
{
    struct stat info;
    char hash[65];
    if (stat(path, &info) != 0)
        return dt_fail_errno(err, "cannot look at", path);
    DT_PASS(dt_hash_file(path, hash, err));
    if (json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name", name, "bytes",
                                              (json_int_t)info.st_size, "sha256", hash)))
        return dt_fail_memory(err, 256, "a report");
    return DT_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_report(const char *name)
{
    return dt_starts_with(name, "parity.") || dt_ends_with(name, ".parity.json") ||
           dt_ends_with(name, ".parity.txt");
}

/* Every file below `path`, in the order of names; `stem` is the path inside the model's folder. */
static dt_status add_folder(json_t *list, const char *path, const char *stem, int depth, dt_error *err)
{
    struct dirent **entry = NULL;
    int count = scandir(path, &entry, NULL, by_name);
    dt_status status = count < 0 ? dt_fail_errno(err, "cannot list", path) : DT_OK;
    for (int i = 0; i < count; i++) {
        char full[PATH_BYTES], name[PATH_BYTES];
        const char *own = entry[i]->d_name;
        bool fits = snprintf(full, sizeof full, "%s/%s", path, own) < PATH_BYTES &&
                    snprintf(name, sizeof name, "%s%s%s", stem, stem[0] ? "/" : "", own) < PATH_BYTES;
        if (status == DT_OK && fits && own[0] != '.' && depth > 0 && dt_is_folder(full))
            status = add_folder(list, full, name, depth - 1, err);
        else if (status == DT_OK && fits && dt_is_file(full) && !is_report(own))
            status = add_file(list, full, name, err);
        free(entry[i]);
    }
    free(entry);
    return status;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* {"path", "format", "written_by", "files"} */
static dt_status side(json_t **out, const char *path, const char *format, const char *written_by,
                      dt_error *err)
{
    json_t *files = json_array();
    dt_status status = !files               ? dt_fail_memory(err, 64, "a report")
                       : dt_is_folder(path) ? add_folder(files, path, "", DEPTH, err)
                                            : add_file(files, path, last_name(path), err);
    *out = status == DT_OK ? json_pack("{s:s, s:s, s:s, s:O}", "path", path, "format", format, "written_by",
                                       written_by, "files", files)
                           : NULL;
    json_decref(files);
    return status == DT_OK && !*out ? dt_fail_memory(err, 256, "a report") : status;
}

/* ---- as JSON ---- */

static json_t *number(double x)
{
    json_t *value = json_real(x); /* NULL when not finite */
    return value ? value : json_null();
}

static json_t *points_json(const dt_verify_report *r)
{
    json_t *points = json_array();
    for (int i = 0; i < r->point_count; i++) {
        const dt_verify_point *p = &r->points[i];
        json_array_append_new(points,
                              json_pack("{s:s, s:o, s:o, s:f, s:b, s:s?}", "name", p->name, "max_abs",
                                        number(p->max_abs), "max_rel", number(p->max_rel), "tolerance",
                                        p->tolerance, "pass", p->pass, "remark", p->remark));
    }
    return points;
}

static json_t *strings_json(const char *const *list, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_string(list[i]));
    return array;
}

static json_t *text_json(const dt_verify_text *t)
{
    return t->present ? json_pack("{s:I, s:b, s:s?}", "rows", (json_int_t)t->rows, "match", t->match,
                                  "remark", t->remark)
                      : json_null();
}

/* What the target's own runtime said of the artefact. */
static json_t *peer_json(const dt_verify_report *r, const char *reason)
{
    return r ? json_pack("{s:s?, s:b, s:f, s:s?, s:o, s:o}", "runtime", r->source, "pass", r->pass,
                         "tolerance", r->tolerance, "reason", reason, "points", points_json(r), "greedy",
                         text_json(&r->greedy))
             : json_null();
}

/* Takes both sides. */
static json_t *report_json(const dt_exported *e, json_t *artefact, json_t *source)
{
    const dt_verify_report *r = e->proof;
    return json_pack("{s:s, s:b, s:s, s:f, s:s, s:s?, s:s?, s:s?, s:o, s:o, s:o, s:o, s:o}", "drivetrain",
                     DT_VERSION, "pass", r->pass, "dtype", r->dtype, "tolerance", r->tolerance, "reason",
                     e->reason, "first_divergence", r->first_divergence, "remark", r->remark, "note", e->note,
                     "points", points_json(r), "unchecked", strings_json(r->unchecked, r->unchecked_count),
                     "artefact", artefact, "source", source, "peer", peer_json(e->peer, e->peer_reason));
}

/* ---- for people ---- */

static void put_side(dt_text *t, const char *what, const json_t *side)
{
    size_t i;
    const json_t *file;
    dt_text_printf(t, "%-9s %s (%s%s%s)\n", what, json_string_value(json_object_get(side, "path")),
                   json_string_value(json_object_get(side, "format")),
                   json_string_length(json_object_get(side, "written_by")) ? ", by " : "",
                   json_string_value(json_object_get(side, "written_by")));
    json_array_foreach(json_object_get(side, "files"), i, file)
    {
        char size[16];
        dt_human_bytes((uint64_t)json_integer_value(json_object_get(file, "bytes")), size);
        dt_text_printf(t, "  %s  %8s  %s\n", json_string_value(json_object_get(file, "sha256")), size,
                       json_string_value(json_object_get(file, "name")));
    }
}

/* Tensors are told in one line, points each, failures always. */
static void put_points(dt_text *t, const dt_verify_report *r)
{
    double farthest = 0;
    int tensors = 0;
    dt_text_printf(t, "\n%-56s %10s %10s\n", "point", "distance", "allowed");
    for (int i = 0; i < r->point_count; i++) {
        const dt_verify_point *p = &r->points[i];
        bool tensor = dt_starts_with(p->name, "tensor ");
        if (tensor) {
            tensors++;
            farthest = p->max_rel > farthest ? p->max_rel : farthest;
        }
        if (!tensor || !p->pass)
            dt_text_printf(t, "%-56s %10.1e %10.1e%s%s%s\n", p->name, p->max_rel, p->tolerance,
                           p->pass ? "" : "  FAILS", p->remark ? "  " : "", p->remark ? p->remark : "");
    }
    dt_text_printf(t, "%-45s %10d %10.1e\n", "all tensors: how many, the farthest", tensors, farthest);
    for (int i = 0; i < r->unchecked_count; i++)
        dt_text_printf(t, "%-56s not checked\n", r->unchecked[i]);
}

static void put_report(dt_text *t, const dt_exported *e, const json_t *artefact, const json_t *source)
{
    const dt_verify_report *r = e->proof;
    dt_text_printf(t, "%s: the artefact, loaded again, against its source; computed in %s by drivetrain %s\n",
                   r->pass ? "yes" : "NO", r->dtype, DT_VERSION);
    if (r->first_divergence)
        dt_text_printf(t, "first divergence at %s\n", r->first_divergence);
    if (r->remark)
        dt_text_printf(t, "%s\n", r->remark);
    if (e->note)
        dt_text_printf(t, "%s\n", e->note);
    dt_text_printf(t, "allowed   %.1e: %s\n\n", r->tolerance, e->reason);
    if (e->peer)
        dt_text_printf(t,
                       "%-9s %s: %s says the same of the artefact: logits within %.1e of %.1e allowed, %s\n"
                       "          %s\n\n",
                       "peer", e->peer->pass ? "yes" : "NO",
                       e->peer->source ? e->peer->source : "the runtime",
                       e->peer->point_count ? e->peer->points[0].max_rel : 0.0, e->peer->tolerance,
                       !e->peer->greedy.present ? "no text"
                       : e->peer->greedy.match  ? "the same text"
                                                : "ANOTHER TEXT",
                       e->peer_reason ? e->peer_reason : "");
    put_side(t, "artefact", artefact);
    put_side(t, "source", source);
    put_points(t, r);
}

/* ---- where they go ---- */

static bool report_path(char *out, const char *output, const char *kind)
{
    return snprintf(out, PATH_BYTES, dt_is_folder(output) ? "%s/parity.%s" : "%s.parity.%s", output, kind) <
           PATH_BYTES;
}

static dt_status save_text(const dt_text *text, const char *path, dt_error *err)
{
    dt_output *file = NULL;
    if (text->failed)
        return dt_fail_memory(err, 0, path);
    DT_PASS(dt_output_open(&file, path, true, err));
    dt_status status = dt_output_write(file, text->data, text->bytes, err);
    if (status == DT_OK)
        return dt_output_commit(file, err);
    dt_output_discard(file);
    return status;
}

static dt_status write_both(const dt_exported *e, const char *output, json_t *artefact, json_t *source,
                            dt_error *err)
{
    char json_path[PATH_BYTES], text_path[PATH_BYTES];
    dt_text text = {0};
    if (!report_path(json_path, output, "json") || !report_path(text_path, output, "txt"))
        return dt_fail(err, DT_INVALID, "the path %s is too long", output);
    json_t *json = report_json(e, json_incref(artefact), json_incref(source));
    dt_status status = json ? dt_json_save(json, json_path, err) : dt_fail_memory(err, 4096, "a report");
    put_report(&text, e, artefact, source);
    if (status == DT_OK)
        status = save_text(&text, text_path, err);
    dt_text_free(&text);
    json_decref(json);
    return status;
}

dt_status dt_parity_write(const dt_exported *exported, const dt_checkpoint *from, const char *output,
                          const char *target, dt_error *err)
{
    json_t *artefact = NULL, *source = NULL;
    dt_checkpoint_about about = dt_checkpoint_describe(from);
    dt_status status;
    DT_GO(status, side(&artefact, output, target, "drivetrain " DT_VERSION, err));
    DT_GO(status, side(&source, about.path, about.format, dt_checkpoint_config(from)->written_by, err));
    status = write_both(exported, output, artefact, source, err);
done:
    json_decref(artefact);
    json_decref(source);
    return status;
}
