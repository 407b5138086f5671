// Package tokenizer turns text into the token ids of a model and back, with the Rust
// library behind Hugging Face's tokenizers (through daulet/tokenizers), as transformers 5
// does with the same directory.
//
// tokenizer.json says how text is cut, what goes around a prompt (its post-processor) and
// how ids are decoded. tokenizer_config.json names the special tokens and may add tokens;
// with config.json it also names the class, and the classes of Llama-2, Gemma and Qwen
// make most rules anew ([class]). add_bos_token and add_eos_token count for nothing where
// there is a tokenizer.json. Other classes that transformers makes anew (CodeLlama's,
// GPT-2's) are taken as their tokenizer.json says.
//
// Which tokens end a generation is said by the tokenizer, config.json and
// generation_config.json.
//
// The library ends the whole process on some malformed files. What is known to do so is
// refused here, before the library sees it.
package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	hf "github.com/daulet/tokenizers"

	"alphalora/internal/fault"
	"alphalora/model/tokenizer/chat"
)

// maxFileBytes bounds a tokenizer.json: the largest ones in use have some 35 MB.
const maxFileBytes = 256 << 20

// Tokenizer is safe for concurrent use, until it is closed.
type Tokenizer struct {
	hf             *hf.Tokenizer
	maxID          int    // of tokenizer.json
	kinds          []kind // by id
	border         border
	special        specials
	prefix, suffix []int32 // what goes around a prompt
	paddingSide    string
	settings       *settings

	reading     sync.Once // of the chat template, when it is first used
	template    *chat.Template
	templateErr error
}

// Open reads the tokenizer of a model directory.
func Open(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent(dir, path)
	}
	if err != nil {
		return nil, err
	}
	f, err := parse(data)
	if err != nil {
		return nil, fault.Input(path, "download it again", "%v", err)
	}
	s, err := readSettings(dir)
	if err != nil {
		return nil, err
	}
	t, err := open(path, f, s)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// absent says what to do where there is no tokenizer.json.
func absent(dir, path string) error {
	if _, err := os.Stat(filepath.Join(dir, "tokenizer.model")); err == nil {
		command := fmt.Sprintf(`python -c "from transformers import AutoTokenizer as T; T.from_pretrained('%[1]s').save_pretrained('%[1]s')"`, dir)
		return fault.Input(path, "convert it once, with the Python packages transformers, sentencepiece and protobuf: "+command,
			"is missing; the directory has only a SentencePiece tokenizer.model")
	}
	return fault.Input(path, "download the model's tokenizer.json into the directory", "is missing")
}

// open makes the tokenizer that transformers would make of the file and the settings.
func open(path string, f *file, s *settings) (*Tokenizer, error) {
	c := classOf(s.model.Type, s.Class, f.level)
	if err := s.readSpecials(c, f.added, f.pads.Token); err != nil {
		return nil, err
	}
	if s.cleansUp(f.model) {
		return nil, fault.Input(filepath.Join(s.dir, configFile), "set it to false", "clean_up_tokenization_spaces is not supported for this model")
	}
	own := newVocabulary(f.ids)
	if err := own.addOwn(f.added); err != nil {
		return nil, fault.Input(path, "download it again", "%v", err)
	}
	v := own
	if c.remakes() {
		v = newVocabulary(f.ids)
		if err := c.remake(f.parts, s); err != nil {
			return nil, fault.Input(path, "download it again", "%v", err)
		}
	}
	maxID := own.maxID()
	v.register(c, f.added, s)
	t := &Tokenizer{maxID: maxID, kinds: kindsOf(v.ids, v.special(), v.maxID()), border: borderOf(f.parts["decoder"]), settings: s}
	t.paddingSide = cmp.Or(s.PaddingSide, strings.ToLower(f.pads.Direction), c.paddingSide())
	var err error
	if t.special, err = findSpecials(s, v.defined(f, s)); err != nil {
		return nil, err
	}
	return t, t.start(path, f, v)
}

// start gives the file to the library.
func (t *Tokenizer) start(path string, f *file, v *vocabulary) error {
	data, err := f.finish(v)
	if err != nil {
		return err
	}
	var options []hf.TokenizerOption
	if t.settings.SplitSpecial {
		options = append(options, hf.WithEncodeSpecialTokens())
	}
	if t.hf, err = hf.FromBytes(data, options...); err != nil {
		return fault.Input(path, "download it again", "is not a tokenizer that can be read: %v", err)
	}
	if err := t.frame(); err != nil {
		t.Close()
		return fault.Input(path, "use the files that belong together", "%v", err)
	}
	return nil
}

// readFile reads a regular file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Input(path, "make it readable", "cannot be read: %v", fault.Reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Input(path, "put the model's file there", "is not a regular file")
	}
	if info.Size() > maxFileBytes {
		return nil, fault.Input(path, "is this a model's file?", "%d bytes are more than the %d allowed", info.Size(), maxFileBytes)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Input(path, "make it readable", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return nil, fault.Input(path, "make it readable", "cannot be read: %v", fault.Reason(err))
	}
	return data, nil
}

// Encode cuts text into ids. With special, the tokens that the model expects around a
// prompt are added, as transformers' tokenizer(text) does. Text that spells a special
// token becomes that token, as there. Text that is not UTF-8 is refused, and so is a NUL,
// which the library would take for the end.
func (t *Tokenizer) Encode(text string, special bool) ([]int32, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	ids, err := t.cut(text, false)
	if err != nil || !special {
		return ids, err
	}
	return slices.Concat(t.prefix, ids, t.suffix), nil
}

// checkText refuses what the library cannot take.
func checkText(text string) error {
	if at := strings.IndexByte(text, 0); at >= 0 {
		return fault.Input("text", "remove the NUL character", "has a NUL character at byte %d", at)
	}
	if !utf8.ValidString(text) {
		return fault.Input("text", "convert it to UTF-8", "is not UTF-8")
	}
	return nil
}

// cut is the library's own encoding.
func (t *Tokenizer) cut(text string, special bool) ([]int32, error) {
	encoding, err := t.encoding(text, special)
	return signed(encoding.IDs), err
}

func (t *Tokenizer) encoding(text string, special bool, more ...hf.EncodeOption) (hf.Encoding, error) {
	encoding, err := t.hf.EncodeWithOptionsErr(text, special, more...)
	if err != nil {
		err = fault.Input("text", "look for a rule in tokenizer.json that does not fit it", "cannot be encoded: %v", err)
	}
	return encoding, err
}

func signed(ids []uint32) []int32 {
	list := make([]int32, len(ids))
	for i, id := range ids {
		list[i] = int32(id)
	}
	return list
}

// Decode turns ids back into text, without special tokens where skip is set. Ids that no
// token has are left out, as transformers does.
func (t *Tokenizer) Decode(ids []int32, skip bool) (string, error) {
	raw := make([]uint32, len(ids))
	for i, id := range ids {
		raw[i] = uint32(id)
	}
	text, err := t.hf.DecodeErr(raw, skip)
	if err != nil {
		return "", fmt.Errorf("decoding %d tokens: %w", len(ids), err)
	}
	return strings.ReplaceAll(text, nulMark, "\x00"), nil
}

// MaxID is the largest token id of tokenizer.json, added tokens included. A token that
// only tokenizer_config.json names comes after it, as in transformers: the model may not
// know it.
func (t *Tokenizer) MaxID() int { return t.maxID }

// BOS returns the token that begins a text, if there is one.
func (t *Tokenizer) BOS() (int32, bool) { return value(t.special.bos) }

// EOS returns the token that ends a text, if there is one.
func (t *Tokenizer) EOS() (int32, bool) {
	if len(t.special.eos) == 0 {
		return 0, false
	}
	return t.special.eos[0], true
}

// Pad returns the padding token, if there is one. Nothing here depends on it: padding
// is known by its place, never by its id.
func (t *Tokenizer) Pad() (int32, bool) { return value(t.special.pad) }

// PaddingSide is the side on which transformers would pad with this tokenizer: left or
// right. Batches for generation are padded on the left here, whatever it says, as the
// last token of a prompt must stand at the end.
func (t *Tokenizer) PaddingSide() string { return t.paddingSide }

// EOSList lists every token that ends a generation.
func (t *Tokenizer) EOSList() []int32 { return slices.Clone(t.special.eos) }

func value(id *int32) (int32, bool) {
	if id == nil {
		return 0, false
	}
	return *id, true
}

// Close frees the tokenizer.
func (t *Tokenizer) Close() {
	if t.hf != nil {
		_ = t.hf.Close()
		t.hf = nil
	}
}
