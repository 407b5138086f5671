package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// byteLevel is a small GPT-2-like tokenizer.json: one token for each of 256 bytes.
func byteLevel() object {
	vocab := object{}
	next := rune(256)
	for b := range rune(256) {
		r := b
		if b < '!' || b > '~' && b < '¡' || b > '¬' && b < '®' {
			r, next = next, next+1
		}
		vocab[string(r)] = int(b)
	}
	level := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
	return object{"version": "1.0", "added_tokens": []any{entry(256, "<end>")}, "pre_tokenizer": level, "decoder": level,
		"model": object{"type": "BPE", "vocab": vocab, "merges": []any{}}}
}

// stream feeds ids to a stream and checks that no character is split.
func stream(t testing.TB, tok *Tokenizer, ids []int32, skip bool) string {
	t.Helper()
	var all strings.Builder
	s := tok.NewStream(skip)
	for _, id := range ids {
		text, err := s.Next(id)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(text))
		require.LessOrEqual(t, len(s.window), len(ids))
		all.WriteString(text)
	}
	rest, err := s.Flush()
	require.NoError(t, err)
	all.WriteString(rest)
	return all.String()
}

func TestStreamIsDecode(t *testing.T) {
	joined := tiny()
	joined["decoder"] = nil
	unknown := tiny()
	unknown["decoder"] = object{"type": "BPEDecoder", "suffix": "c"}
	for name, file := range map[string]object{"bytes as fallback": tiny(), "bytes": byteLevel(), "no decoder": joined, "one that is not known": unknown} {
		tok := opened(t, map[string]any{"tokenizer.json": file})
		rng := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			ids := make([]int32, rng.IntN(120))
			for i := range ids {
				ids[i] = int32(rng.IntN(tok.MaxID()+4)) - 1
			}
			for _, skip := range []bool{false, true} {
				want, err := tok.Decode(ids, skip)
				require.NoError(t, err)
				require.Equal(t, want, stream(t, tok, ids, skip), "%s: %v", name, ids)
			}
		}
	}
}

func TestStreamHoldsPartsOfCharacters(t *testing.T) {
	tok := opened(t, map[string]any{"tokenizer.json": byteLevel()})
	s := tok.NewStream(true)
	var got []string
	for _, b := range []byte("a🚀é\xff\xf0\x9fb\xe2") {
		text, err := s.Next(int32(b))
		require.NoError(t, err)
		got = append(got, text)
	}
	require.Equal(t, []string{"a", "", "", "", "🚀", "", "é", "", "\ufffd", "", "\ufffdb", ""}, got)
	rest, err := s.Flush()
	require.NoError(t, err)
	require.Equal(t, "\ufffd", rest)
	text, err := s.Next('x')
	require.NoError(t, err)
	require.Equal(t, "x", text, "a flushed stream begins anew")
}

// The window stays small whatever comes, so that the work is linear.
func TestStreamIsBounded(t *testing.T) {
	tok := opened(t, map[string]any{"tokenizer.json": byteLevel()})
	s := tok.NewStream(true)
	for i := range 10_000 {
		_, err := s.Next(int32([]int{0xff, 0xf0, 0x80, 'a'}[i%4]))
		require.NoError(t, err)
		require.Less(t, len(s.window), windowLong)
	}
}
