package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenCase is one way to configure a tokenizer, and what transformers makes of it.
// `make goldens` writes them (scripts/goldens-tokenizers).
type goldenCase struct {
	File    string                     `json:"file"`
	Config  object                     `json:"config"`
	Model   object                     `json:"model"`
	Files   map[string]json.RawMessage `json:"files"`
	Patch   map[string]json.RawMessage `json:"patch"`
	Prefix  []int32                    `json:"prefix"`
	Suffix  []int32                    `json:"suffix"`
	Padding string                     `json:"padding_side"`
	BOS     *int32                     `json:"bos"`
	EOS     *int32                     `json:"eos"`
	Pad     *int32                     `json:"pad"`
	Length  int                        `json:"length"`
	Others  map[string][]int32         `json:"others"`
	Decoded [][]json.RawMessage        `json:"decoded"`
}

// golden reads a file of the goldens.
func golden[T any](t testing.TB, name string) (value T) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "goldens", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &value))
	return value
}

// open writes the case's directory and opens it.
func (c goldenCase) open(t testing.TB) *Tokenizer {
	t.Helper()
	file := golden[map[string]json.RawMessage](t, c.File+".tokenizer.json")
	maps.Copy(file, c.Patch)
	files := map[string]any{"tokenizer.json": file, "config.json": c.Model}
	if len(c.Config) > 0 {
		files["tokenizer_config.json"] = c.Config
	}
	for name, content := range c.Files {
		files[name] = []byte(content)
	}
	return opened(t, files)
}

// Every string of every case gets the ids that transformers gives it.
func TestEncodeLikeTransformers(t *testing.T) {
	cases, texts := golden[map[string]goldenCase](t, "cases.json"), golden[[]string](t, "strings.json")
	require.GreaterOrEqual(t, len(texts), 2000)
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		base := golden[[][]int32](t, c.File+".ids.json")
		tok := c.open(t)
		bad := 0
		for i, text := range texts {
			want, ok := c.Others[strconv.Itoa(i)]
			if !ok {
				want = base[i]
			}
			got, err := tok.Encode(text, false)
			require.NoError(t, err)
			whole, err := tok.Encode(text, true)
			require.NoError(t, err)
			checked += 2
			if !slices.Equal(want, got) || !slices.Equal(slices.Concat(c.Prefix, want, c.Suffix), whole) {
				if bad++; bad <= 3 {
					t.Errorf("%s: %q is %v, not %v; whole %v", name, text, want, got, whole)
				}
			}
		}
		if bad > 0 {
			t.Errorf("%s: %d of %d strings differ", name, bad, len(texts))
		}
	}
	require.NotZero(t, checked)
	t.Logf("%d encodings of %d cases checked", checked, len(cases))
}

// What is decoded, with special tokens and without, and as a stream.
func TestDecodeLikeTransformers(t *testing.T) {
	cases := golden[map[string]goldenCase](t, "cases.json")
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		tok := c.open(t)
		for _, d := range c.Decoded {
			var ids []int32
			require.NoError(t, json.Unmarshal(d[0], &ids))
			for i, skip := range []bool{false, true} {
				var want string
				require.NoError(t, json.Unmarshal(d[1+i], &want))
				got, err := tok.Decode(ids, skip)
				require.NoError(t, err)
				require.Equal(t, want, got, "%s: %v", name, ids)
				require.Equal(t, want, stream(t, tok, ids, skip), "%s: %v", name, ids)
				checked++
			}
		}
	}
	require.NotZero(t, checked)
	t.Logf("%d decodings of %d cases checked", checked, len(cases))
}

func TestSpecialTokensLikeTransformers(t *testing.T) {
	cases := golden[map[string]goldenCase](t, "cases.json")
	require.NotEmpty(t, cases)
	for name, c := range cases {
		tok := c.open(t)
		require.Equal(t, c.Padding, tok.PaddingSide(), name)
		require.Len(t, tok.kinds, c.Length, name)
		for role, want := range map[string]*int32{"bos": c.BOS, "eos": c.EOS, "pad": c.Pad} {
			got, ok := map[string]func() (int32, bool){"bos": tok.BOS, "eos": tok.EOS, "pad": tok.Pad}[role]()
			if !ok { // one that is only named gets an id after the file's in transformers, and is none here
				require.True(t, want == nil || int(*want) > tok.MaxID(), "%s %s", name, role)
				continue
			}
			require.NotNil(t, want, "%s %s", name, role)
			require.Equal(t, *want, got, "%s %s", name, role)
		}
	}
}

// All the strings, of every case, come out of a stream as they come out of Decode.
func TestStreamOfGoldenTokenizers(t *testing.T) {
	cases, texts := golden[map[string]goldenCase](t, "cases.json"), golden[[]string](t, "strings.json")
	for name, c := range cases {
		tok := c.open(t)
		var ids []int32
		for _, text := range texts[:400] {
			more, err := tok.Encode(text, true)
			require.NoError(t, err)
			ids = append(ids, more...)
		}
		for _, skip := range []bool{false, true} {
			want, err := tok.Decode(ids, skip)
			require.NoError(t, err)
			require.Equal(t, want, stream(t, tok, ids, skip), name)
		}
	}
}
