package seedling

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documents returns the first n documents of the corpus.
func documents(seed uint64, n int) []string {
	var out []string
	for d := range NewWorld().Corpus(seed) {
		if out = append(out, d); len(out) == n {
			break
		}
	}
	return out
}

func TestEverythingIsDeterministic(t *testing.T) {
	require.Equal(t, documents(3, 500), documents(3, 500))
	require.NotEqual(t, documents(3, 5), documents(4, 5))
	require.Equal(t, NewWorld().Tasks(), NewWorld().Tasks())
	require.Equal(t, NewWorld(), NewWorld())
}

func TestNoTestFactIsAskedInTraining(t *testing.T) {
	for _, task := range NewWorld().Tasks() {
		trained := map[string]bool{}
		for _, r := range task.Train {
			require.NotEmpty(t, r.Key, task.Name)
			for _, part := range strings.Split(r.Key, "|") {
				trained[part] = true
			}
		}
		for _, r := range task.Test {
			for _, part := range strings.Split(r.Key, "|") {
				require.NotEmpty(t, part, task.Name)
				require.False(t, trained[part], "%s: %q is asked in both splits", task.Name, part)
			}
		}
	}
}

func TestEveryKeyStandsInItsInstruction(t *testing.T) {
	for _, task := range NewWorld().Tasks() {
		for _, r := range slices.Concat(task.Train, task.Test) {
			for _, word := range strings.FieldsFunc(r.Key, func(c rune) bool { return strings.ContainsRune("|, ", c) }) {
				if task.Name != "sums" {
					require.Contains(t, r.Instruction, word, task.Name)
				}
			}
		}
	}
}

func TestRecordsAreWellFormedAndBalanced(t *testing.T) {
	impossible := 0
	for _, task := range NewWorld().Tasks() {
		require.GreaterOrEqual(t, len(task.Train), 2000, task.Name)
		require.Len(t, task.Test, 200, task.Name)
		if task.Impossible {
			impossible++
		}
		for _, split := range [][]Record{task.Train, task.Test} {
			counts, texts := map[string]int{}, map[string]bool{}
			for _, r := range split {
				at := slices.Index(task.Answers, r.Answer)
				require.GreaterOrEqual(t, at, 0, "%s: answer %q", task.Name, r.Answer)
				require.Equal(t, task.Outputs()[at], r.Output)
				require.False(t, texts[r.Instruction], "%s: twice: %s", task.Name, r.Instruction)
				counts[r.Answer]++
				texts[r.Instruction] = true
			}
			for answer, n := range counts {
				require.LessOrEqual(t, float64(n), 0.55*float64(len(split)), "%s: %s", task.Name, answer)
			}
		}
	}
	require.Equal(t, 1, impossible)
}

// TestSumsAreRight recomputes every word problem from its numbers.
func TestSumsAreRight(t *testing.T) {
	for _, task := range NewWorld().Tasks() {
		for _, r := range slices.Concat(task.Train, task.Test) {
			if task.Format != Number {
				continue
			}
			var found []int
			for _, f := range strings.Fields(r.Instruction) {
				var n int
				if _, err := fmt.Sscanf(f, "%d", &n); err == nil {
					found = append(found, n)
				}
			}
			require.Len(t, found, 2, r.Instruction)
			a, b := found[0], found[1]
			require.Contains(t, []string{fmt.Sprint(a + b), fmt.Sprint(a - b)}, r.Answer, r.Instruction)
		}
	}
}

func TestVocabularyHoldsEveryWordInsideALineOnce(t *testing.T) {
	w := NewWorld()
	vocabulary := w.Vocabulary()
	known := map[string]bool{}
	for _, token := range vocabulary {
		require.False(t, known[token], "%q twice", token)
		known[token] = true
	}
	require.LessOrEqual(t, len(vocabulary), 1200)
	require.Equal(t, []string{"<unk>", "<s>", "</s>", "<0x00>"}, vocabulary[:4])
	for _, d := range documents(77, 2000) {
		for _, word := range split(d) {
			if name, inner := strings.CutPrefix(word, boundary); inner {
				require.True(t, known[word], "%q of %q", name, d)
				continue
			}
			for _, c := range word { // rare words at the start of a line are spelt
				require.True(t, known[word] || known[string(c)], "%q of %q", word, d)
			}
		}
	}
}

func TestTokenizerJSONIsComplete(t *testing.T) {
	w := NewWorld()
	data, err := w.TokenizerJSON()
	require.NoError(t, err)
	again, err := w.TokenizerJSON()
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, again))
	var file struct {
		AddedTokens []struct {
			ID      int
			Content string
		} `json:"added_tokens"`
		Model struct {
			Type         string
			UnkID        int  `json:"unk_id"`
			ByteFallback bool `json:"byte_fallback"`
			Vocab        [][2]any
		}
	}
	require.NoError(t, json.Unmarshal(data, &file))
	require.Equal(t, "Unigram", file.Model.Type)
	require.True(t, file.Model.ByteFallback)
	require.Equal(t, UnknownID, file.Model.UnkID)
	require.Len(t, file.AddedTokens, 3)
	for id, token := range w.Vocabulary() {
		require.Equal(t, token, file.Model.Vocab[id][0])
	}
	_, err = TokenizerConfigJSON()
	require.NoError(t, err)
}

func TestRowsAreFullAndRejoinToTheCorpus(t *testing.T) {
	encode := func(s string) []int {
		ids := make([]int, 0, len(s))
		for _, c := range []byte(s) {
			ids = append(ids, int(c)+3)
		}
		return ids
	}
	var out bytes.Buffer
	require.NoError(t, NewWorld().WriteRows(&out, encode, 5, 40, 64))
	var stream []int
	decoder := json.NewDecoder(&out)
	for decoder.More() {
		var row struct {
			IDs []int `json:"input_ids"`
		}
		require.NoError(t, decoder.Decode(&row))
		require.Len(t, row.IDs, 64)
		stream = append(stream, row.IDs...)
	}
	require.Len(t, stream, 40*64)
	first := documents(5, 1)[0]
	require.Equal(t, BOSID, stream[0])
	require.Equal(t, encode(first), stream[1:len(first)+1])
	require.Equal(t, []int{EOSID, BOSID}, stream[len(first)+1:len(first)+3])
	require.Error(t, NewWorld().WriteRows(&out, encode, 5, 0, 64))
}
