package data

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/seedling"
	"alphalora/model/tokenizer"
)

// learnt is the text of the tokens that carry loss, the parts apart by "|", for letters.
func learnt(s Sample) string {
	var w strings.Builder
	for i, id := range s.IDs {
		switch {
		case s.Labels[i] == Ignored:
			if i > 0 && s.Labels[i-1] != Ignored {
				w.WriteByte('|')
			}
		case id < 256:
			w.WriteByte(byte(id))
		}
	}
	return w.String()
}

// forgetful writes an earlier turn of the assistant's otherwise than the last one.
type forgetful struct{ letters }

func (f forgetful) Conversation(messages []tokenizer.Message, prompt bool) (string, error) {
	text, err := f.letters.Conversation(messages, prompt)
	if n := len(messages); err == nil && messages[n-1].Role == assistant && !prompt {
		at := strings.LastIndex(text, "<assistant>") + len("<assistant>")
		text = text[:at] + "(thoughts)" + text[at:]
	}
	return text, err
}

// mute writes no conversation that begins as its prompt does.
type mute struct{ letters }

func (mute) Conversation(_ []tokenizer.Message, prompt bool) (string, error) {
	if prompt {
		return "<x>", nil
	}
	return "<y>", nil
}

func TestOnlyTheAssistantIsLearnt(t *testing.T) {
	two := `{"messages":[{"role":"system","content":"S"},{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes"},{"role":"user","content":"Yes?"},{"role":"assistant","content":"No"}]}`
	path := write(t, "x.jsonl", two)
	samples, _, err := read(t, []string{path}, options)
	require.NoError(t, err)
	require.Equal(t, "Yes.|No.", learnt(samples[0]), "what ends a turn is learnt too")
	require.Len(t, samples[0].IDs, len("<system>S.<user>Hi.<assistant>Yes.<user>Yes?.<assistant>No."), "no token around")

	o := options
	o.Encoder = forgetful{}
	samples, _, err = read(t, []string{path}, o)
	require.NoError(t, err)
	require.Equal(t, "Yes.|(thoughts)No.", learnt(samples[0]))

	o.TrainOnInputs = true
	samples, _, err = read(t, []string{path}, o)
	require.NoError(t, err)
	require.Nil(t, samples[0].Labels)

	o = options
	o.Template = Chat
	samples, _, err = read(t, []string{write(t, "y.jsonl", `{"instruction":"a","input":"b","output":"c"}`)}, o)
	require.NoError(t, err)
	require.Equal(t, "c.", learnt(samples[0]))
	require.Len(t, samples[0].IDs, len("<user>a\n\nb.<assistant>c."))
}

func TestConversationsThatAreRefused(t *testing.T) {
	for content, why := range map[string]string{
		`{"messages":[]}`:                                   "has 0 messages: 1 to 512 are needed",
		`{"messages":"x"}`:                                  "has a string in messages: a list is needed",
		`{"messages":[1]}`:                                  "has a number in messages: a record is needed",
		`{"messages":[{"role":"user"}]}`:                    "has no role or no content in message 1",
		`{"messages":[{"role":"user","content":["x"]}]}`:    "has a array in messages.content: text is needed",
		`{"messages":[{"role":"user","content":null}]}`:     "has no role or no content in message 1",
		`{"messages":[{"role":"assistant","content":"x"}]}`: "begins with a turn of the assistant's",
		`{"messages":[{"role":"user","content":"x"}]}`:      "has no message of the assistant's",
		`{"messages":[` + strings.Repeat(`{"role":"user","content":"x"},`, 512) + `{"role":"a"}]}`: "has 513 messages",
	} {
		_, _, err := read(t, []string{write(t, "x.jsonl", content)}, options)
		require.ErrorContains(t, err, "x.jsonl:1: "+why, content)
	}
	o := options
	o.Encoder = mute{}
	_, _, err := read(t, []string{write(t, "x.jsonl", `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}`)}, o)
	require.ErrorContains(t, err, "begins message 2 otherwise in a prompt")
}

// chatTemplates are in the manner of ChatML, Llama-2 and Qwen-3, whose last turn has
// thoughts that earlier turns lose.
var chatTemplates = map[string]string{
	"chatml": "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}",
	"llama":  "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content | trim }} [/INST]{% else %} {{ m.content | trim }} </s>{% endif %}{% endfor %}",
	"qwen":   "{% for m in messages %}[{{ m.role }}]\n{% if m.role == 'assistant' and loop.last %}(hm) {% endif %}{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}",
}

// The masks of a real tokenizer cover the assistant's words and ends, token by token.
func TestMasksOfTheShippedTokenizer(t *testing.T) {
	for name, want := range map[string][]string{
		"chatml": {"The cat is red.</s>\n", "No\n\n</s>\n"}, "llama": {" The cat is red. </s>", " No </s>"}, "qwen": {"The cat is red.</s>\n", "(hm) No\n\n</s>\n"},
	} {
		dir := filepath.Join(t.TempDir(), "base")
		require.NoError(t, seedling.WriteBase(dir))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(chatTemplates[name]), 0o644))
		tok, err := tokenizer.Open(dir)
		require.NoError(t, err)
		path := write(t, "x.jsonl", `{"messages":[{"role":"user","content":"What is red?"},{"role":"assistant","content":"The cat is red."},{"role":"user","content":"Is that so?"},{"role":"assistant","content":"No\n\n"}]}`)
		samples, _, err := read(t, []string{path}, Options{Encoder: tok, Vocabulary: tok.MaxID() + 1})
		require.NoError(t, err, name)
		s, parts := samples[0], [][]int32{}
		for i := range s.IDs {
			if s.Labels[i] != Ignored {
				if s.Labels[i-1] == Ignored {
					parts = append(parts, nil)
				}
				parts[len(parts)-1] = append(parts[len(parts)-1], s.IDs[i])
			}
		}
		require.Len(t, parts, len(want), name)
		for i, part := range parts {
			text, err := tok.Decode(part, false)
			require.NoError(t, err)
			require.Equal(t, strings.TrimSpace(want[i]), strings.TrimSpace(text), "%s: turn %d", name, i+1)
		}
		tok.Close()
	}
}

func TestForms(t *testing.T) {
	form := func(source string) Options {
		f, err := newForm("x.jinja", source)
		require.NoError(t, err)
		o := options
		o.Form = f
		return o
	}
	path := write(t, "x.jsonl", `{"q":"Why","a":["so",7,0.5,true],"n":12345678901234567890}`)
	samples, _, err := read(t, []string{path}, form("Q: {{ q }}{% for x in a %}-{{ x }}{% endfor %}\n\nA: {{ begin_answer }}{{ a[0] }}!\n"))
	require.NoError(t, err)
	require.Equal(t, "so!", learnt(samples[0]))
	require.Equal(t, []int32{'o', '!', end}, samples[0].Labels[len(samples[0].Labels)-3:])
	prompt := "Q: Why-so-7-0.5-True\nA: "
	require.Len(t, samples[0].IDs, 1+len(prompt)+3+1)

	for source, why := range map[string]string{
		"{{ quest }}{{ begin_answer }}x":                                                                    "x.jsonl:1: the template prints something that is not defined, the record has a, n, q",
		"{{ q }}{{ begin_answer }}{{ begin_answer }}x":                                                      "prints begin_answer 2 times",
		"{{ q }}{% if false %}{{ begin_answer }}{% endif %}x":                                               "prints begin_answer 0 times",
		"{{ q }}{{ begin_answer }} ":                                                                        "prints no answer",
		"{{ raise_exception('not ' ~ q) }}{{ begin_answer }}":                                               "the template refuses it: not Why",
		"{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}{{ begin_answer }}": "the template takes too many steps",
	} {
		_, _, err := read(t, []string{path}, form(source))
		require.ErrorContains(t, err, why, source)
	}
	for source, why := range map[string]string{"{{ q }}": "does not say what is learnt", "{% include 'x' %}{{ begin_answer }}": "the template cannot be used"} {
		_, err := newForm("x.jinja", source)
		require.ErrorContains(t, err, "x.jinja: ", source)
		require.ErrorContains(t, err, why, source)
	}
	_, err = ReadForm(filepath.Join(t.TempDir(), "absent.jinja"))
	require.ErrorContains(t, err, "data.template cannot be read")
}
