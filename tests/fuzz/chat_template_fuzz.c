/* chat_template_fuzz.c - any text as a chat template: refused with a story, or rendered within its limits. */
#include "data/jinja/jinja.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\" \\u00e9\\n\"},"
    "{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{"
    "\"x\":1}}}]}],"
    "\"tools\":[{\"function\":{\"name\":\"f\"}}],\"bos_token\":\"<s>\",\"add_generation_prompt\":true,\"n\":"
    "2.5}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    dt_error err = {0};
    dt_jinja *j;
    dt_text out = {0};
    const dt_jinja_options limits = {
        .steps = 50000, .memory = 16 << 20, .output = 1 << 20, .now = 1700000000};
    dt_status status = dt_jinja_parse(&j, (const char *)data, bytes, &err);
    assert(status == DT_OK || err.line_count > 0);
    if (status != DT_OK)
        return 0;
    json_t *v = json_loads(variables, 0, NULL);
    status = dt_jinja_render(j, v, &limits, &out, &err);
    assert(status == DT_OK || err.line_count > 0);
    assert(out.bytes <= limits.output);
    json_decref(v);
    dt_text_free(&out);
    dt_jinja_destroy(j);
    return 0;
}
