package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// object is a piece of JSON that tests change.
type object = map[string]any

// tiny is a small SentencePiece-like tokenizer.json: 12 tokens and one added.
func tiny() object {
	return object{
		"version":      "1.0",
		"added_tokens": []any{entry(0, "<unk>"), entry(1, "<s>"), entry(2, "</s>"), entry(12, "<pad>")},
		"normalizer": object{"type": "Sequence", "normalizers": []any{
			object{"type": "Prepend", "prepend": "▁"},
			object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}}},
		"post_processor": template("<s>", 1),
		"decoder": object{"type": "Sequence", "decoders": []any{
			object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "},
			object{"type": "ByteFallback"}, object{"type": "Fuse"},
			object{"type": "Strip", "content": " ", "start": 1, "stop": 0}}},
		"model": object{"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
			"vocab":  object{"<unk>": 0, "<s>": 1, "</s>": 2, "<0x00>": 3, "<0x0A>": 4, "▁": 5, "a": 6, "b": 7, "c": 8, "▁a": 9, "bc": 10, "▁abc": 11},
			"merges": []any{"▁ a", "b c", "▁a bc"}},
	}
}

func entry(id int, content string) object {
	return object{"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
}

func template(text string, id int) object {
	return object{"type": "TemplateProcessing",
		"single":         []any{object{"SpecialToken": object{"id": text, "type_id": 0}}, object{"Sequence": object{"id": "A", "type_id": 0}}},
		"pair":           []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 0}}},
		"special_tokens": object{text: object{"id": text, "ids": []any{id}, "tokens": []any{text}}}}
}

// write makes a model directory of JSON files.
func write(t testing.TB, files map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		data, ok := content.([]byte)
		if !ok {
			var err error
			data, err = json.Marshal(content)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	return dir
}

func opened(t testing.TB, files map[string]any) *Tokenizer {
	t.Helper()
	tok, err := Open(write(t, files))
	require.NoError(t, err)
	t.Cleanup(tok.Close)
	return tok
}

// config is a tokenizer_config.json with the usual names and what a test adds.
func config(more object) object {
	c := object{"bos_token": "<s>", "eos_token": "</s>"}
	for k, v := range more {
		c[k] = v
	}
	return c
}

func TestEncodeAndDecode(t *testing.T) {
	tok := opened(t, map[string]any{"tokenizer.json": tiny(), "tokenizer_config.json": config(nil)})
	for _, c := range []struct {
		text    string
		special bool
		ids     []int32
	}{
		{"abc", false, []int32{11}},
		{"abc", true, []int32{1, 11}},
		{"abc a", true, []int32{1, 11, 9}},
		{"cb", false, []int32{5, 8, 7}},
		{"a\nb", false, []int32{9, 4, 7}},
		{"a</s>", false, []int32{9, 2}},
		{"z", false, []int32{5, 0}},
		{"", false, []int32{}},
		{"", true, []int32{1}},
	} {
		ids, err := tok.Encode(c.text, c.special)
		require.NoError(t, err, "%q", c.text)
		require.Equal(t, c.ids, ids, "%q", c.text)
	}
	require.Equal(t, 12, tok.MaxID())

	text, err := tok.Decode([]int32{1, 11, 9, 2}, true)
	require.NoError(t, err)
	require.Equal(t, "abc a", text)
	text, err = tok.Decode([]int32{1, 11, 2}, false)
	require.NoError(t, err)
	require.Equal(t, "<s> abc</s>", text)
	text, err = tok.Decode(nil, true)
	require.NoError(t, err)
	require.Empty(t, text)
	text, err = tok.Decode([]int32{11, 999, -1}, true)
	require.NoError(t, err, "ids without a token are left out")
	require.Equal(t, "abc", text)
}

func TestDecodeNUL(t *testing.T) {
	tok := opened(t, map[string]any{"tokenizer.json": tiny()})
	text, err := tok.Decode([]int32{11, 3, 7, 3}, true)
	require.NoError(t, err)
	require.Equal(t, "abc\x00b\x00", text)
}

func TestEncodeRefusesWhatTheLibraryWouldBend(t *testing.T) {
	tok := opened(t, map[string]any{"tokenizer.json": tiny()})
	_, err := tok.Encode("ab\x00c", false)
	require.EqualError(t, err, "text: has a NUL character at byte 2 (remove the NUL character)")
	_, err = tok.Encode("a\xff", false)
	require.EqualError(t, err, "text: is not UTF-8 (convert it to UTF-8)")
}

// What goes around a prompt is the post-processor's business alone, whatever the policies
// say: transformers 5 leaves them out.
func TestPolicies(t *testing.T) {
	bare := tiny()
	bare["post_processor"] = nil
	policies := object{"add_bos_token": true, "add_eos_token": true}
	for name, c := range map[string]struct {
		file   object
		config object
		ids    []int32
	}{
		"the post-processor's own":       {tiny(), object{}, []int32{1, 11}},
		"policies do not add":            {tiny(), policies, []int32{1, 11}},
		"policies do not take away":      {tiny(), object{"add_bos_token": false}, []int32{1, 11}},
		"no post-processor, no policy":   {bare, object{}, []int32{11}},
		"no post-processor but policies": {bare, policies, []int32{11}},
	} {
		for _, class := range []string{"", "LlamaTokenizer", "PreTrainedTokenizerFast"} {
			c.config["tokenizer_class"] = class
			tok := opened(t, map[string]any{"tokenizer.json": c.file, "tokenizer_config.json": config(c.config)})
			ids, err := tok.Encode("abc", true)
			require.NoError(t, err, name)
			require.Equal(t, c.ids, ids, "%s %s", class, name)
		}
	}
}

// AutoTokenizer's choice.
func TestClassOf(t *testing.T) {
	for _, c := range []struct {
		model, declared string
		byteLevel       bool
		want            class
	}{
		{"llama", "LlamaTokenizerFast", false, classLlama},
		{"llama", "LlamaTokenizer", true, classFile},
		{"llama", "", false, classFile},
		{"llama", "PreTrainedTokenizerFast", false, classFile},
		{"llama", "CodeLlamaTokenizer", false, classFile},
		{"mistral", "LlamaTokenizer", false, classFile},
		{"gemma2", "", false, classGemma},
		{"gemma2", "GemmaTokenizer", false, classGemma},
		{"gemma2", "LlamaTokenizer", false, classLlama},
		{"qwen3", "", true, classQwen2},
		{"qwen3", "PreTrainedTokenizerFast", true, classFile},
		{"qwen2", "PreTrainedTokenizerFast", true, classQwen2},
		{"phi3", "LlamaTokenizer", false, classFile},
	} {
		require.Equal(t, c.want, classOf(c.model, c.declared, c.byteLevel), "%v", c)
	}
}

func TestSpecialTokens(t *testing.T) {
	tok := opened(t, map[string]any{"tokenizer.json": tiny(),
		"special_tokens_map.json": object{"bos_token": "<s>", "eos_token": "</s>", "pad_token": object{"content": "<pad>"}},
		"tokenizer_config.json":   object{"eos_token": "<unk>"},
		"config.json":             object{"eos_token_id": 7, "bos_token_id": 5},
		"generation_config.json":  object{"eos_token_id": []int{2, 8, -1}},
	})
	bos, ok := tok.BOS()
	require.True(t, ok)
	require.EqualValues(t, 1, bos, "the tokenizer's name goes before config.json's id")
	pad, ok := tok.Pad()
	require.True(t, ok)
	require.EqualValues(t, 12, pad)
	eos, ok := tok.EOS()
	require.True(t, ok)
	require.EqualValues(t, 2, eos)
	require.Equal(t, []int32{2, 8}, tok.EOSList())

	tok = opened(t, map[string]any{"tokenizer.json": tiny(),
		"config.json": object{"eos_token_id": nil, "bos_token_id": 5, "pad_token_id": -1}})
	bos, ok = tok.BOS()
	require.True(t, ok)
	require.EqualValues(t, 5, bos)
	_, ok = tok.EOS()
	require.False(t, ok)
	_, ok = tok.Pad()
	require.False(t, ok, "-1 is some files' none")
}

// transformers cuts and pads only when it is asked to.
func TestTruncationAndPaddingOfTheFileAreNotUsed(t *testing.T) {
	file := tiny()
	file["truncation"] = object{"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
	file["padding"] = object{"strategy": object{"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": nil, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}
	ids, err := opened(t, map[string]any{"tokenizer.json": file}).Encode("abc a a a", true)
	require.NoError(t, err)
	require.Equal(t, []int32{1, 11, 9, 9, 9}, ids)
}

func TestUnigram(t *testing.T) {
	file := tiny()
	file["model"] = object{"type": "Unigram", "unk_id": 0, "byte_fallback": false,
		"vocab": []any{[]any{"<unk>", 0}, []any{"<s>", 0}, []any{"</s>", 0}, []any{"▁", -2.5}, []any{"a", -1}, []any{"▁ab", -3}, []any{"b", -1}}}
	file["added_tokens"] = []any{entry(0, "<unk>"), entry(7, "<new>")}
	tok := opened(t, map[string]any{"tokenizer.json": file})
	ids, err := tok.Encode("ab<new>", true)
	require.NoError(t, err)
	require.Equal(t, []int32{1, 5, 7}, ids)
	require.Equal(t, 7, tok.MaxID())
}

func TestOpenAbsent(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	require.EqualError(t, err, filepath.Join(dir, "tokenizer.json")+": is missing (download the model's tokenizer.json into the directory)")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.model"), nil, 0o644))
	_, err = Open(dir)
	require.EqualError(t, err, filepath.Join(dir, "tokenizer.json")+": is missing; the directory has only a SentencePiece tokenizer.model "+
		"(convert it once, with the Python packages transformers, sentencepiece and protobuf: "+
		"python -c \"from transformers import AutoTokenizer as T; T.from_pretrained('"+dir+"').save_pretrained('"+dir+"')\")")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))

	require.NoError(t, os.Mkdir(filepath.Join(dir, "tokenizer.json"), 0o755))
	_, err = Open(dir)
	require.ErrorContains(t, err, "is not a regular file")

	dir = t.TempDir()
	f, err := os.Create(filepath.Join(dir, "tokenizer.json"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(maxFileBytes+1))
	require.NoError(t, f.Close())
	_, err = Open(dir)
	require.ErrorContains(t, err, "more than the 268435456 allowed")
}

// hostile are files that must be refused with a message; several end the process when
// the library gets them.
func hostile() map[string][]byte {
	files := map[string][]byte{
		"is not a JSON object":      []byte(`{"model": `),
		"cannot unmarshal array":    []byte(`[]`),
		"unexpected end":            nil,
		"no vocabulary":             []byte(`{"version":"1.0"}`),
		"has a NUL":                 []byte(`{"version":"1.0","decoder":{"type":"a\u0000"},"model":{"type":"BPE","vocab":{},"merges":[]}}`),
		"is not a tokenizer that":   []byte(`{"version":"2.0","model":{"type":"BPE","vocab":{},"merges":[]}}`),
		"is neither an object":      []byte(`{"version":"1.0","decoder":[],"model":{"type":"BPE","vocab":{},"merges":[]}}`),
		"cannot be read: json: can": []byte(`{"version":"1.0","decoder":{"type":"Strip","start":1e999},"model":{"type":"BPE","vocab":{},"merges":[]}}`),
	}
	change := func(why string, to func(object)) {
		file := tiny()
		to(file)
		data, err := json.Marshal(file)
		if err != nil {
			panic(err) // plain values always encode
		}
		files[why] = data
	}
	model := func(key string, value any) func(object) {
		return func(o object) { o["model"].(object)[key] = value }
	}
	change("strips characters at the end", func(o object) { o["decoder"] = object{"type": "Strip", "content": "a", "start": 0, "stop": 9} })
	change("precompiled character map", func(o object) { o["normalizer"] = object{"type": "Precompiled", "precompiled_charsmap": "AAAA"} })
	change("nested more than", func(o object) {
		deep := any(object{"type": "Fuse"})
		for range 200 {
			deep = object{"type": "Sequence", "decoders": []any{deep}}
		}
		o["decoder"] = deep
	})
	change("has id -1", model("vocab", object{"a": -1}))
	change("has id 2000000000", model("vocab", object{"a": 2000000000}))
	change("has no vocabulary that can be read", model("vocab", 5))
	change("piece 0 of the vocabulary", model("vocab", []any{[]any{}}))
	change("joins merges over a prefix", model("continuing_subword_prefix", "######"))
	change("out of vocabulary", model("merges", []any{"q q"}))
	change("its place makes it 12", func(o object) { o["added_tokens"] = []any{entry(40, "<new>")} })
	change("added_tokens cannot be read", func(o object) { o["added_tokens"] = 3 })
	change("has no token 99", func(o object) { o["post_processor"] = template("<s>", 99) })
	change("without defining it", func(o object) { o["post_processor"].(object)["special_tokens"] = object{} })
	return files
}

func TestOpenRefuses(t *testing.T) {
	for why, data := range hostile() {
		_, err := Open(write(t, map[string]any{"tokenizer.json": data}))
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestOpenRefusesBadNeighbours(t *testing.T) {
	for why, files := range map[string]map[string]any{
		`bos_token is "<bos>", which tokenizer.json does not have`: {"tokenizer_config.json": object{"bos_token": "<bos>"}},
		`tokenizer_config.json: cannot be read`:                    {"tokenizer_config.json": []byte("{")},
		`config.json: cannot be read`:                              {"config.json": object{"eos_token_id": "two"}},
		`padding_side is "up"`:                                     {"tokenizer_config.json": object{"padding_side": "up"}},
		`fix_mistral_regex is not supported`:                       {"tokenizer_config.json": object{"fix_mistral_regex": true}},
		`clean_up_tokenization_spaces is not`:                      {"tokenizer_config.json": object{"clean_up_tokenization_spaces": true, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": true}},
		`has a NUL character in a string`:                          {"tokenizer_config.json": []byte(`{"pad_token":"\u0000"}`)},
		`pad_token is not a token`:                                 {"tokenizer_config.json": object{"pad_token": 5}},
		`extra_special_tokens is not a list`:                       {"tokenizer_config.json": object{"extra_special_tokens": 5}},
		`"x" is not a token's id`:                                  {"tokenizer_config.json": object{"added_tokens_decoder": object{"x": entry(0, "a")}}},
		`has no token 77`:                                          {"generation_config.json": object{"eos_token_id": []int{77}}},
	} {
		files["tokenizer.json"] = tiny()
		_, err := Open(write(t, files))
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), why)
	}
}

// A real model's tokenizer.
func TestRealTokenizer(t *testing.T) {
	tok, err := Open(testkit.Shared(t, "models", "aidreams-260k"))
	require.NoError(t, err)
	defer tok.Close()
	require.Equal(t, 511, tok.MaxID())
	require.Equal(t, []int32{2}, tok.EOSList())
	ids, err := tok.Encode("Once upon a time", true)
	require.NoError(t, err)
	require.Len(t, ids, 13)
	require.EqualValues(t, 1, ids[0])
	for _, text := range []string{"Once upon a time", "two  spaces ", "ünïcödé 🚀\n\ttab", "### Response:\n"} {
		ids, err := tok.Encode(text, true)
		require.NoError(t, err)
		back, err := tok.Decode(ids, true)
		require.NoError(t, err)
		require.Equal(t, text, back)
	}
}

// FuzzOpen: no file ends the process, and what opens can be used.
func FuzzOpen(f *testing.F) {
	for _, data := range hostile() {
		f.Add(data)
	}
	good, err := json.Marshal(tiny())
	require.NoError(f, err)
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, class := range []class{classFile, classLlama, classGemma, classQwen2} {
			tok, err := Open(write(t, map[string]any{"tokenizer.json": data, "tokenizer_config.json": object{"tokenizer_class": class}}))
			if err != nil {
				require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
				continue
			}
			ids, err := tok.Encode("abc a\n", true)
			if err == nil {
				_, _ = tok.Decode(ids, true) // an error is a fair answer, a crash is not
			}
			tok.Close()
		}
	})
}

// FuzzSettings: the same of the files beside it, for each class that makes rules anew.
func FuzzSettings(f *testing.F) {
	for _, class := range []string{"LlamaTokenizer", "GemmaTokenizer", "Qwen2Tokenizer", "PreTrainedTokenizerFast"} {
		for _, more := range []object{{"legacy": true}, {"add_prefix_space": false, "mask_token": "<mask>"}, {"split_special_tokens": true},
			{"added_tokens_decoder": object{"3": entry(3, "a"), "40": entry(40, "<new>")}}, {"extra_special_tokens": []any{"b", entry(0, "<x>")}},
			{"chat_template": "{{ bos_token }}{{ messages[0].content }}"}, {"unk_token": "c", "bos_token": nil, "eos_token": object{"content": "b"}}} {
			more["tokenizer_class"] = class
			data, err := json.Marshal(config(more))
			require.NoError(f, err)
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Open(write(t, map[string]any{"tokenizer.json": tiny(), "tokenizer_config.json": data, "config.json": data}))
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
			return
		}
		defer tok.Close()
		ids, err := tok.Encode("abc a\n", true)
		if err == nil {
			_, _ = tok.Decode(ids, true) // an error is a fair answer, a crash is not
		}
		_, _, _ = tok.Chat([]Message{{Role: "user", Content: "abc"}}, true)
	})
}
