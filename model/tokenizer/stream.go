package tokenizer

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Stream turns ids into text as they come. What it returns never ends inside a character,
// and all of it together is what Decode makes of all the ids.
//
// A token's text can depend on its neighbours: some characters are spread over several
// tokens, and the first space of a text may be dropped. So a few tokens are decoded
// together and what is new in their text is returned, except an end that the next token
// can still change. The work is linear in the number of tokens.
type Stream struct {
	t      *Tokenizer
	skip   bool
	window []int32 // the last tokens, decoded together
	done   int     // bytes of the window's text that were returned
}

// NewStream begins a text, without special tokens where skipSpecial is set.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{t: t, skip: skipSpecial}
}

const (
	windowLong  = 24 // tokens at which a window is cut
	windowShort = 8  // to as many: more than the bytes of a character
)

// Next takes the next token and returns the text that is certain with it, which may be
// empty.
func (s *Stream) Next(id int32) (string, error) {
	if s.t.silent(id, s.skip) {
		return "", nil
	}
	s.window = append(s.window, id)
	switch s.t.border {
	case borderEnd:
		return "", nil
	case borderRun:
		if s.t.kinds[id] == kindByte {
			return "", nil
		}
	}
	text, err := s.t.Decode(s.window, s.skip)
	if err != nil {
		return "", err
	}
	held := 0
	if s.t.border == borderByte && strings.HasSuffix(text, string(utf8.RuneError)) {
		held = utf8.RuneLen(utf8.RuneError)
	}
	fresh := text[s.done : len(text)-held]
	s.done = len(text) - held
	return fresh, s.shorten(held)
}

// shorten drops the old tokens of a long window.
func (s *Stream) shorten(held int) error {
	if len(s.window) < windowLong {
		return nil
	}
	s.window = append(s.window[:0], s.window[len(s.window)-windowShort:]...)
	text, err := s.t.Decode(s.window, s.skip)
	s.done = len(text) - held
	return err
}

// Flush returns what was held back and begins anew.
func (s *Stream) Flush() (string, error) {
	text, err := s.t.Decode(s.window, s.skip)
	if err != nil {
		return "", err
	}
	rest := text[s.done:]
	s.window, s.done = s.window[:0], 0
	return rest, nil
}

// border says where the text of a decoder is certain.
type border int

const (
	borderToken border = iota // after every token
	borderByte                // where the bytes so far are whole characters
	borderRun                 // after a run of tokens that are bytes: all are read as UTF-8, or none
	borderEnd                 // at the end only, as with a decoder that is not known here
)

// kind is what streaming must know of a token.
type kind byte

const (
	kindNone kind = iota // no token has this id
	kindText
	kindByte    // a single byte, as <0x0A>
	kindSpecial // left out where special tokens are skipped
)

// silent tells of an id that Decode leaves out.
func (t *Tokenizer) silent(id int32, skip bool) bool {
	if id < 0 || int(id) >= len(t.kinds) {
		return true
	}
	return t.kinds[id] == kindNone || skip && t.kinds[id] == kindSpecial
}

// kindsOf lists the kinds of all tokens by id.
func kindsOf(ids map[string]int, special map[string]bool, maxID int) []kind {
	kinds := make([]kind, maxID+1)
	for text, id := range ids {
		switch {
		case special[text]:
			kinds[id] = kindSpecial
		case isByte(text):
			kinds[id] = kindByte
		default:
			kinds[id] = kindText
		}
	}
	return kinds
}

// isByte tells of a token such as <0x0A>.
func isByte(text string) bool {
	if len(text) != 6 || !strings.HasPrefix(text, "<0x") || text[5] != '>' {
		return false
	}
	_, err := strconv.ParseUint(text[3:5], 16, 8)
	return err == nil
}

// borderOf looks through the decoder of tokenizer.json.
func borderOf(decoder json.RawMessage) border {
	type rule struct {
		Type     string `json:"type"`
		Start    int    `json:"start"`
		Decoders []rule `json:"decoders"`
	}
	var d rule
	if json.Unmarshal(decoder, &d) != nil {
		return borderEnd
	}
	rules := d.Decoders
	if d.Type != "Sequence" {
		rules = []rule{d}
	}
	at, fused := borderToken, false
	for _, r := range rules {
		switch {
		case r.Type == "": // no decoder: tokens are joined by spaces
		case r.Type == "Metaspace" && !fused, r.Type == "Replace" && !fused:
		case r.Type == "Fuse":
			fused = true
		case r.Type == "Strip" && r.Start <= 1:
		case r.Type == "ByteFallback" && at == borderToken && !fused:
			at = borderRun
		case r.Type == "ByteLevel" && at == borderToken && !fused:
			at, fused = borderByte, true
		default:
			return borderEnd
		}
	}
	return at
}
