package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

var two = []Message{{"user", "Hi"}, {"assistant", "Yes\n"}}

func render(source string, messages []Message) (string, error) {
	t, err := Parse("chat_template.jinja", source, nil)
	if err != nil {
		return "", err
	}
	return t.Render(messages, false)
}

// refused are constructs that transformers renders and that are refused here, with what
// is said.
var refused = map[string]string{
	"{{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 3 }} {{ 1 + 2 * 3 }} {{ 4 / 2 }}": "line 1: the operator * is not supported",
	"{{ 2 ** 3 }}":                 "the operator ** is not supported",
	"{{ 1_000 }}":                  "number 1_000",
	"{{ 'x' * 3 }}":                "the operator * is not supported",
	"{{ '%s!' % 'a' }}":            "the operator % is not supported here",
	"{{ '{} {}'.format(1, 'b') }}": "the method format is not supported",
	"{{ 'a' 'b' }}":                "strings side by side",
	"{% set a, b = 1, 2 %}{{ a }}": "this set is not supported",
	"{{ [].__class__ }}":           "the attribute __class__ is not allowed",
	"{{ '<a & \"b\">'|e }}":        "the filter e is not supported",
	"{{ {'b':1,'a':2}|dictsort }} {{ {'b':1}|items|list }}": "the filter dictsort is not supported",
}

// different are constructs with another result here than in transformers, which refuses
// all but the last two.
var different = map[string]string{
	"{{ messages[0].x.y }}":            "",
	"{{ u.x }}":                        "",
	"{{ 1 + 'a' }}":                    "1a",
	"{% for a in none %}x{% endfor %}": "",
	"{{ none ~ 'x' }}":                 "x",
	"{{ [1,2]+[3] }} {{ [1,2,3][1:] }} {{ [1,2,3][::-1] }} {{ [3,1,2]|sort }} {{ ['a','b']|first }} {{ [1,2]|last }} {{ [1,2]|length }} {{ 'é'|length }} {{ (1, 2) }}": "[1, 2, 3] [2, 3] [3, 2, 1] [1, 2, 3] a 2 2 1 [1, 2]",
}

// Single constructs of the language: the same text as transformers, or the same refusal.
func TestConstructsLikeTransformers(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "testdata", "goldens", "chat.json"))
	require.NoError(t, err)
	var goldens struct {
		Constructs [][2]*string `json:"constructs"`
	}
	require.NoError(t, json.Unmarshal(data, &goldens))
	require.NotEmpty(t, goldens.Constructs)
	seen := 0
	for _, c := range goldens.Constructs {
		source, want := *c[0], c[1]
		got, err := render(source, two)
		says, isRefused := refused[source]
		text, isDifferent := different[source]
		switch {
		case isRefused:
			require.NotNil(t, want, source)
			require.ErrorContains(t, err, says, source)
			seen++
		case isDifferent:
			require.NoError(t, err, source)
			require.Equal(t, text, got, source)
			seen++
		case want == nil:
			require.Error(t, err, "%s renders %q", source, got)
		default:
			require.NoError(t, err, source)
			require.Equal(t, *want, got, source)
		}
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), source)
			require.NotContains(t, err.Error(), "\n")
		}
	}
	require.Equal(t, len(refused)+len(different), seen, "a listed construct is not among the goldens")
	t.Logf("%d constructs checked", len(goldens.Constructs))
}

func TestRefusals(t *testing.T) {
	_, err := render("{% if messages[0].role != 'system' %}{{ raise_exception('No\nsystem') }}{% endif %}", two)
	require.EqualError(t, err, "messages: the model's chat template refuses them: No system (change the messages)")
	_, err = render("a\n{% include 'b' %}", two)
	require.EqualError(t, err, "chat_template.jinja: the chat template cannot be used: line 2: the tag include is not supported "+
		"(write the template in what is supported, or use --prompt)")
	_, err = render("x", nil)
	require.EqualError(t, err, "messages: is empty (give at least one)")
	_, err = render("x", []Message{{"user", strings.Repeat("x", maxValue)}})
	require.ErrorContains(t, err, "more than the 2097152 allowed")
	_, err = render(strings.Repeat("x", maxSource+1), two)
	require.ErrorContains(t, err, "more than the 262144 allowed")
}

// hostile are templates that would run, grow or call without end.
var hostile = map[string]string{
	"a macro that calls itself":     "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
	"two that call each other":      "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
	"one under another name":        "{% set ns = namespace() %}{% macro f() %}{{ ns.g() }}{% endmacro %}{% set ns.g = f %}{{ f() }}",
	"through a block":               "{% macro f() %}{% call f() %}x{% endcall %}{% endmacro %}{{ f() }}",
	"loops in loops":                "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
	"a long range":                  "{% for a in range(999999999999) %}{% endfor %}",
	"a text that doubles":           "{% set ns = namespace(x='x') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
	"a list that doubles":           "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
	"lists in lists":                "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
	"a namespace that holds itself": "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
	"much text":                     "{% for a in range(99999) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
	"much text that is kept":        "{% set t %}{% for a in range(99999) %}" + strings.Repeat("x", 1000) + "{% endfor %}{% endset %}",
	"replacing by much":             "{% set x %}{% for a in range(99999) %}aaaaaaaa{% endfor %}{% endset %}{{ x|replace('a', x)|replace('a', x) }}",
	"joining by much":               "{% set x %}{% for a in range(99999) %}aaaaaaaa{% endfor %}{% endset %}{{ range(99999)|join(x) }}",
	"a wide indent":                 "{{ 'a'|indent(999999999, true) }}",
	"a wide indent of JSON":         "{{ [1]|tojson(indent=999999999) }}",
	"JSON of JSON":                  "{{ '\"'" + strings.Repeat("|tojson", 60) + " }}",
	"many pieces":                   "{{ 'a'" + strings.Repeat("~'a'", 60) + " }}",
	"arguments that grow":           "{% macro f(x, n) %}{% if n %}{{ f(x ~ x, n - 1) }}{% endif %}{% endmacro %}{{ f('x', 30) }}",
	"our own functions":             "{{ bounded_out('x') }}",
	"our own functions put aside":   "{% set bounded_step = 1 %}",
}

func TestBounds(t *testing.T) {
	for name, source := range hostile {
		start := time.Now()
		_, err := render(source, two)
		require.Error(t, err, name)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), "%s: %v", name, err)
		require.Less(t, time.Since(start), 2*maxSeconds*time.Second, name)
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for format, want := range map[string]string{
		"%d %b %Y": "04 Mar 2026", "%Y-%m-%d": "2026-03-04", "%B %-d, %Y": "March 4, 2026", "%A %H:%M:%S": "Wednesday 05:06:07",
		"100%% Jan 2006 %": "100% Jan 2006 %", "%y %e": "26  4",
	} {
		got, err := strftime(at, format)
		require.NoError(t, err)
		require.Equal(t, want, got, format)
	}
	_, err := strftime(at, "%Q")
	require.Error(t, err)
}

// FuzzRender: no template ends the process, hangs or fails without a message.
func FuzzRender(f *testing.F) {
	for _, source := range hostile {
		f.Add(source)
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "scripts", "goldens-tokenizers", "templates", "*.jinja"))
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(data))
	}
	for source := range refused {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		start := time.Now()
		text, err := render(source, two)
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
		}
		require.LessOrEqual(t, len(text), maxOutput)
		require.Less(t, time.Since(start), 2*maxSeconds*time.Second)
	})
}
