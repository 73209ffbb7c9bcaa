#!/usr/bin/env python3
"""Cases of the template language with what transformers makes of them: jinja.py > jinja.json (transformers 5.23, jinja2 3.1)

Each is [template, text], or [template, null, message] where rendering fails and the message is the same in both.
"""
import copy
import json

from transformers.utils import chat_template_utils

VARIABLES = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Hi 'you' \"x\" é😀\n"},
        {"role": "assistant", "content": "ok", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": [1.5, None, True]}}}]},
    ],
    "tools": [{"function": {"name": "f", "description": "d <b> & 'q'", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}],
    "add_generation_prompt": True, "bos_token": "<s>", "none": None, "n": 7, "x": 2.5, "s": "Hello, wörld foo-bar", "d": {"b": 2, "a": 1, "B": 3},
    "users": [{"n": "Bob", "a": 3, "g": "m"}, {"n": "al", "a": 1, "g": "f"}, {"n": "Cy", "a": 2, "g": "m"}],
}
TEMPLATES = r"""
a {%- if true %} b {% endif -%} c
  {% if n > 3 %}@  yes@  {% else %}@  no@  {% endif %}@end@@
  {%+ if true %}x{% endif +%}@y{#- c -#} z {# d #}@w
{% raw -%} {{ x }} {%- endraw %}!
{{ 'a\tb\x41\u00e9\101\q' "c" }}{{ 0x1F + 0b11 + 1_000 + 0o7 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1e16 }} {{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1e-5 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'abc' }} {{ 2 not in [1] }} {{ not none }} {{ 1 == 1.0 == true }}
{{ 'a' ~ 1 + 2 ~ 'b' if false else 'a' ~ 1 ~ none }}
{{ [1, 'a', none, true, 2.5, {'k': ('v',)}] }}
{{ s[0] }}{{ s[-1] }}{{ s[7:12] }}{{ s[::-1] }}{{ [1,2,3][::-2] }}{{ (1,2,3)[1:] }}
{{ s.upper() }}{{ s.split(',') }}{{ s.split('o', 1) }}{{ ' a  b '.split() }}{{ 'a,b,c'.rsplit(',', 1) }}{{ s.title() }}{{ s|title }}
{{ s.startswith(('x', 'He')) }}{{ s.find('w') }}{{ s.replace('o', '0', 1) }}{{ 'xxaxx'.strip('x') }}{{ ' x '|trim }}{{ 'abc'.removeprefix('a') }}
{{ d.items() }}{{ d.keys()|list }}{{ d|dictsort }}{{ d.get('q', 'no') }}{{ d['zz'] is defined }}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{{ messages|map(attribute='role')|join(', ') }}{{ users|selectattr('g', 'equalto', 'm')|map(attribute='n')|list }}{{ users|rejectattr('a', 'gt', 1)|list|length }}
{{ users|sort(attribute='n')|map(attribute='n')|list }}{{ users|groupby('g') }}{{ users|sum(attribute='a') }}{{ users|max(attribute='a') }}
{{ tools|tojson }}|{{ tools[0]|tojson(indent=2) }}|{{ 'é\n"<'|tojson }}|{{ 'é😀'|tojson(ensure_ascii=true) }}|{{ d|tojson(sort_keys=true, separators=(',', ':')) }}
{% set ns = namespace(found=false, i=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% set ns.i = ns.i + loop.index %}{% endfor %}{{ ns.found }}{{ ns.i }}
{% set v = 1 %}{% for i in [1, 2] %}{{ v }}{% set v = v + 1 %}{{ v }}{% endfor %}{{ v }}
{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.last }}{{ loop.previtem.role }}{{ loop.nextitem is defined }}{% break %}{% endfor %}
{% for x in [1,2,3,4] if x % 2 %}{{ x }}/{{ loop.length }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{{ loop(x) if x is iterable else x }}.{{ loop.depth }}{% endfor %}
{% macro m(a, b='B', c=n) %}[{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m() }}{{ m(1, 2, 3, 4, z=5) }}
{% macro t(q) %}{{ caller(q) }}{% endmacro %}{% call(x) t('hi') %}<{{ x }}>{% endcall %}
{% set b %}  text {{ n }}  {% endset %}[{{ b }}]{% set b | trim | upper %} x {% endset %}[{{ b }}]{% filter upper %}abc{% endfilter %}{% with q = 1 %}{{ q }}{% endwith %}{{ q is defined }}
{% generation %}{{ bos_token }}{% endgeneration %}{{ strftime_now('') }}{{ range(5)|list }}{{ range(5, 0, -2)|list }}{{ dict(a=1, b=2) }}
{{ '%s-%05.2f-%x-%r' % ('a', x, 255, 'q') }}{{ '{}|{:>6}|{n:,}'.format(1, 'é', n=12345) }}{{ '%s'|format(3) }}
{{ x|int }}{{ '12'|int }}{{ 'q'|int(9) }}{{ '1.5'|float }}{{ 2.5|round }}{{ 2.567|round(2) }}{{ 2.1|round(0, 'ceil') }}{{ -3|abs }}
{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}|{{ 'x'|center(5) }}|{{ 'one two three'|truncate(9) }}|{{ '<&>'|e }}
{{ none is none }}{{ n is odd }}{{ n is divisibleby 7 }}{{ s is string }}{{ d is mapping }}{{ s is sequence }}{{ undef is defined }}{{ undef is not defined }}{{ x is number }}{{ true is boolean }}{{ 1 is in [1] }}
{{ undef }}|{{ undef|default('d') }}|{{ ''|default('d', true) }}|{{ none|default('d') }}|{{ messages[9] }}|{{ n.foo }}
{{ [1,2,3]|first }}{{ [1,2,3]|last }}{{ 'abc'|reverse }}{{ [3,1,2]|sort }}{{ ['b','A']|sort }}{{ [1,1,2]|unique|list }}{{ [1,2,3]|batch(2)|list }}{{ [1,2,3]|select('odd')|list }}{{ ['a']|map('upper')|list }}
{{ messages[1].content | trim ~ '!' }}{{ messages[-1].tool_calls[0].function.arguments | tojson }}
{{ undef.x }}
{{ undef + 1 }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 1 < 'a' }}
{% macro box(t, kind='x') %}<{{ t }} {{ kind }}>{{ caller(1) }}{% endmacro %}{% call(a) box(kind='k', t='t') %}[{{ a }}]{% endcall %}{% call(a) box('u', kind=n) %}{{ a }}{% endcall %}
{% set types = {'string': 'str'} %}{{ types[['string', 'null']] is defined }}{{ types[{}] }}{{ types['string'] }}{{ types.get('x', 1) }}
{{ raise_exception('Only user: ' ~ n) }}
{{ n() }}
{{ undef() }}
{{ messages.append(1) }}
{{ range(100001) }}
{{ x|nothing }}
{{ [1,2]|map('nothing')|list }}
{{ 1 is nothing }}
{% set n.a = 1 %}
{% for a, b in [1] %}{% endfor %}
{{ 1 // 0 }}
{{ [] | tojson }}{{ undef | tojson }}
""".strip("\n").split("\n")
SAME = {"Only user: 7", "'undef' is undefined", "can only concatenate str (not \"int\") to str", "unsupported operand type(s) for +: 'int' and 'str'", "'<' not supported between instances of 'int' and 'str'",
        "'int' object is not callable", "access to attribute 'append' of 'list' object is unsafe.", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).",
        "No filter named 'nothing'.", "No test named 'nothing'.", "'int' object is not iterable", "Object of type Undefined is not JSON serializable", "cannot assign attribute on non-namespace object"}

cases = []
for template in TEMPLATES:
    template = template.replace("@", "\n")
    try:
        cases.append([template, chat_template_utils._compile_jinja_template(template).render(**copy.deepcopy(VARIABLES))])
    except Exception as e:
        cases.append([template, None, str(e) if str(e) in SAME else ""])
print('{"variables":', json.dumps(VARIABLES), ',\n"cases": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]}")
