package generate

import (
	"os"
	"path/filepath"
	"testing"

	"alphalora/internal/fault"

	"github.com/stretchr/testify/require"
)

func TestReadSpecial(t *testing.T) {
	for name, c := range map[string]struct {
		config, generation string
		want               Special
	}{
		"nothing":               {"", "", Special{BOS: -1}},
		"one":                   {`{"bos_token_id":1,"eos_token_id":2}`, "", Special{1, []int32{2}}},
		"a list goes before":    {`{"bos_token_id":1,"eos_token_id":2}`, `{"eos_token_id":[3,4]}`, Special{1, []int32{3, 4}}},
		"null leaves as it was": {`{"eos_token_id":[2,5]}`, `{"eos_token_id":null}`, Special{-1, []int32{2, 5}}},
		"-1 is none":            {`{"bos_token_id":-1,"eos_token_id":-1}`, "", Special{-1, nil}},
	} {
		dir := t.TempDir()
		for file, content := range map[string]string{"config.json": c.config, "generation_config.json": c.generation} {
			if content != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644))
			}
		}
		got, err := ReadSpecial(dir, 10)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	for why, content := range map[string]string{
		"token 10 is outside":  `{"eos_token_id":[1,10]}`,
		"neither a token":      `{"eos_token_id":"two"}`,
		"config.json: cannot":  `{"eos_token_id":`,
		"cannot be read: json": `{"bos_token_id":1.5}`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(content), 0o644))
		_, err := ReadSpecial(dir, 10)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}

func FuzzSpecial(f *testing.F) {
	for _, seed := range []string{`{}`, `{"eos_token_id":[1,2],"bos_token_id":0}`, `{"eos_token_id":-1}`, `[`, `{"eos_token_id":[9999999999]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := Special{BOS: -1}
		if err := s.parse("config.json", data, 10); err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
			return
		}
		require.True(t, s.BOS >= -1 && s.BOS < 10)
		for _, id := range s.Ends {
			require.True(t, id >= 0 && id < 10)
		}
	})
}

func TestShorten(t *testing.T) {
	ids := []int32{1, 5, 6, 7, 8}
	require.Equal(t, ids, Shorten(ids, 5, 1))
	require.Equal(t, []int32{1, 7, 8}, Shorten(ids, 3, 1), "the beginning's token stays")
	require.Equal(t, []int32{6, 7, 8}, Shorten(ids, 3, 2))
	require.Equal(t, []int32{8}, Shorten(ids, 1, -1))
	require.Equal(t, []int32{1, 5, 6, 7, 8}, ids, "the caller's own stays as it is")
}
