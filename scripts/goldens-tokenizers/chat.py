"""Chat templates of templates/ (written here, in the constructs of each family's own), and
what transformers renders with them."""

import pathlib
import tempfile

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

import cases
from encode import write

TEMPLATES = pathlib.Path(__file__).with_name("templates")

# The tokenizer that each template goes with.
CASES = {
    "llama2": "llama2-legacy", "llama3": "llama3", "mistral": "llama2-mistral", "gemma": "gemma", "gemma3": "gemma3-no-class",
    "qwen25": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "zephyr": "llama2-file", "chatml": "qwen3-file", "marked": "llama2-default",
}


def turns(*contents, system=None):
    out = [] if system is None else [{"role": "system", "content": system}]
    return out + [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(contents)]


CONVERSATIONS = [
    turns("Hello, how are you?"),
    turns("Hello", system="You are terse."),
    turns("  Où est l'école ?  ", "Près de la forêt. 🌲", "今天天气很好\n\n"),
    turns("One", "Two", "Three", "Four", "Five", system="  Count.\n"),
    turns("What is 2 + 2?", "<think>\nIt is four.\n</think>\n\n4", "Sure?"),
    turns("What is 2 + 2?", "<think>\nIt is four.\n</think>\n\n4"),
    turns("", "", ""),
    turns("Say <|im_end|> or </s> or <end_of_turn>", "\"quoted\" & <b>'bold'</b> \\ back\\nslash", "{{ 7 * 7 }} {% raw %} {# x #}"),
    turns("A\ttab, é, 👩‍💻 and \u2028 line", "```go\nfunc main() {\n\tprintln(\"x\")\n}\n```\n", "STOP", "after", "end"),
    [{"role": "assistant", "content": "I begin."}, {"role": "user", "content": "Do you?"}],
    [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
    [{"role": "user", "content": "call"}, {"role": "assistant", "content": "calling"}, {"role": "tool", "content": "<tool_response>42"},
     {"role": "tool", "content": "43"}, {"role": "assistant", "content": "It is 42."}],
    [{"role": "wizard", "content": "Abracadabra"}],
    [{"role": "user", "content": "<tool_response>x</tool_response>"}, {"role": "system", "content": "late"}],
    [{"role": "system", "content": "alone"}],
]


# Single constructs of the language, with two messages to work on. Those that our side
# refuses, or writes otherwise, are listed in its test.
CONSTRUCTS = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "{% if true %}{{ 'x' }}\n{% endif %}y", "  {% if true %}a{% endif %}  \n  {{ 'b' }}  \n", "a\n\n", "\n a\r\nb\r",
    " {%- if true -%} a {%- endif +%}\n b", "x  {%+ if true %} y {% endif %}\n\nz", "{# c #}\n  {# d -#}  \n x {#- e #} y", "{% raw %}{{ x }} {% if %}{% endraw %}\n!", "a\n {%- raw -%} {{ b }} {%- endraw %}\nc",
    "{% for m in messages %}\n{{ m.role }}\n{% endfor %}", "{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }} {% endfor %}{{ loop is defined }}",
    "{%- for m in messages if m.role == 'user' -%} {{ m.content }} {%- else -%} no {%- endfor -%} .", "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}", "{% for a in u %}x{% else %}none{% endfor %}", "{% for c in 'héé' %}{{ c }}-{% endfor %}", "{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}",
    "{% for i in [1,2] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{% endfor %}", "{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}", "{% set x %} a{{ 1 }} {% endset %}[{{ x }}]", "{% set d = {'a': {'b': 1}} %}{{ d.a.b }}{{ d['a']['b'] }}{{ d }}",
    "{%- macro f(a, b='x', c=2) -%}<{{ a }}{{ b }}{{ c }}>{%- endmacro -%}{{ f(1) }}{{ f(1, c=3) }}{{ f(1, 2, 3) }}", "{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}in{% endcall %}", "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{{ none }} {{ true }} {{ [1,'a',none] }} {{ {'a': none, 'b': [1.5, 'it\\'s']} }}", "{{ unknown ~ 'x' }}{{ unknown }}", "{{ u is none }} {{ u is defined }} {{ none is none }} {{ none is defined }}",
    "{{ {'b':1,'a':'<é>'}|tojson }} {{ ['x', none, true, 1.0, 2]|tojson }} {{ 'a\"\\n\u2028'|tojson }}", "{{ {'a': [1, {'b': []}], 'c': {}}|tojson(indent=2) }}", "{{ {'a': [1, 2]}|tojson(separators=(',', ':')) }}",
    "{{ 'abc'[:2] ~ 'abc'[::-1] ~ 'abc'[-1] ~ 'héllo'[1:3] }}", "{{ 'aB cd'.title() }} {{ 'aB CD'|title }} {{ 'aB'.capitalize() }} {{ 'é'.upper() }}", "{{ 'aXbXc'.split('X', 1) }} {{ 'aXbXc'.split('X') }} {{ ' a  b '.split() }} {{ 'a.b.c'.rsplit('.', 1) }}",
    "{{ 'aXbXc'.split('X')[-1].strip() }}{{ ' x '.strip() + '|' + 'xxaxx'.strip('x') + '|' + '\\n a\\n'.lstrip('\\n') + '|' + 'a\\n'.rstrip() }}", "{{ 'ab'.startswith(('x','a')) }}{{ 'ab'.startswith('b') }}{{ 'ab'.endswith('b') }}", "{{ 'aXbX'.replace('X', '-') }}{{ 'aXbX'|replace('X','',1) }}{{ 'aXb'.replace('X', 'Y').lower() }}",
    "{{ 'a' if x is not defined else 'b' }}{{ ('y' if false else 'n') + 'z' }}{{ 'q' ~ ('l' if false) }}", "{{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 3 }} {{ 1 + 2 * 3 }} {{ 4 / 2 }}", "{{ 7 // 2 }} {{ 7 % 3 }} {{ 7 - 3 - 1 }} {{ -3 }} {{ 1.50 }} {{ 3.0 }} {{ 1e20 }} {{ 1e-7 }}", "{{ 2 ** 3 }}", "{{ 1_000 }}", "{{ 'x' * 3 }}", "{{ '%s!' % 'a' }}", "{{ '{} {}'.format(1, 'b') }}",
    "{{ 'a' in 'abc' }} {{ 'a' not in ['b'] }} {{ 1 < 2 }} {{ not true }} {{ true and 'x' or 'y' }} {{ '' or 'z' }} {{ 1 == 1.0 }} {{ 'role' in messages[0] }}", "{{ \"a\\nb\\tc\\u00e9\\x41\\\\n\\'\\q\" }}", "{{ 'it\\'s \"q\" }} %}' }}", "{{ 'a' 'b' }}", "{% set a, b = 1, 2 %}{{ a }}",
    "{{ [1,2]+[3] }} {{ [1,2,3][1:] }} {{ [1,2,3][::-1] }} {{ [3,1,2]|sort }} {{ ['a','b']|first }} {{ [1,2]|last }} {{ [1,2]|length }} {{ 'é'|length }} {{ (1, 2) }}", "{{ ['a', 1]|join('-') }} {{ messages|map(attribute='role')|join(', ') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role','equalto','user')|map(attribute='content')|first }}",
    "{{ ' a '|trim }}{{ x|default('d') }}{{ ''|default('e', true) }}{{ 'a'|upper|lower }}{{ '3'|int + 1 }}{{ 3|string + 'x' }}", "{{ 'a\\nb\\n\\nc'|indent(2) }}|{{ 'a\\nb'|indent(1, true) }}|{{ 'a\\nb'|indent(width=3, first=true) }}", "{{ messages[0].get('x', 'd') }}{{ messages[0]['role'] }}{{ messages[-1].content }}{{ messages[0].x is defined }}",
    "{% if 'a' is string and 1 is number and {} is mapping and [] is iterable and 'a' is iterable and [] is sequence and none is none and true is boolean %}ok{% endif %}", "{% generation %}g\n{% endgeneration %}\nh", "{% if false %}a{% elif true %}b{% else %}c{% endif %}", "{{ {'a': {'b': {}}} }}", "{{ 'x' if messages[5] is defined else 'y' }}{{ messages[5] }}",
    "{{ raise_exception('no') }}", "{% if %}", "{% for %}", "{{ }}", "{{ 'a' ", "{% if true %}", "{% endif %}", "{{ 1 + }}", "{{ ) }}", "{{ 'a }}", "{% unknown_tag %}", "{{ 'a'|unknown_filter }}", "{{ 1 is unknown_test }}", "{{ nothing() }}", "{{ range(1000000) }}", "{{ messages.append(1) }}", "{{ [].__class__ }}", "{% include 'x' %}", "{{ messages[0].x.y }}", "{{ u.x }}", "{{ 1 + 'a' }}", "{{ none ~ 'x' }}", "{% for a in none %}x{% endfor %}",
    "{{ 'abc'|list }} {{ 'xyz'|last }} {{ 'b,a'.split(',')|sort|join }}", "{{ [1, 1, 2]|unique|list }} {{ [1,2]|sum }} {{ [1,5]|max }} {{ (-3)|abs }} {{ 2.567|round(2) }}", "{{ {'b':1,'a':2}|dictsort }} {{ {'b':1}|items|list }}", "{{ dict(a=1).a }} {{ joiner(',') is callable }}", "{{ '<a & \"b\">'|e }}", "{{ strftime_now('%%') }}",
]


def constructed(source):
    try:
        return [source, _compile_jinja_template(source).render(messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes\n"}])]
    except Exception:  # whatever kind of refusal
        return [source, None]


def rendered(tokenizer, conversation, prompt):
    try:
        text = tokenizer.apply_chat_template(conversation, add_generation_prompt=prompt, tokenize=False)
    except TemplateError as e:
        return {"error": str(e)}
    return {"text": text, "ids": tokenizer.apply_chat_template(conversation, add_generation_prompt=prompt, return_dict=False)}


def generate(files):
    out = {"conversations": CONVERSATIONS, "constructs": [constructed(s) for s in CONSTRUCTS], "templates": {}}
    for name, case in CASES.items():
        template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as directory:
            write(directory, cases.CASES[case], files)
            pathlib.Path(directory, "chat_template.jinja").write_text(template, encoding="utf-8")
            t = AutoTokenizer.from_pretrained(directory)
            out["templates"][name] = {"case": case, "template": template, "rendered": [
                [rendered(t, c, prompt) for prompt in (False, True)] for c in CONVERSATIONS]}
    return {"chat.json": out}
