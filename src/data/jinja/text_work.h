/*
 * text_work.h - work on strings that methods and filters share.
 */
#ifndef DT_JINJA_TEXT_WORK_H
#define DT_JINJA_TEXT_WORK_H

#include "data/jinja/render.h"

typedef enum case_change { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE, CASE_SWAP } case_change;

value dt_j_change_case(rendering *r, const string *s, case_change change);
value dt_j_strip(rendering *r, const string *s, const string *chars, bool left,
                 bool right); /* NULL: spaces */
value dt_j_replace(rendering *r, const string *s, const string *from, const string *to, int64_t most);
value dt_j_pad(rendering *r, const string *s, int64_t left, int64_t right, const char *fill,
               size_t fill_bytes);
value dt_j_center(rendering *r, const string *s, int64_t width);
value dt_j_lines(rendering *r, const string *s, bool keep_ends); /* a list */
value dt_j_join_items(rendering *r, const string *separator, value items, bool convert);

#endif
