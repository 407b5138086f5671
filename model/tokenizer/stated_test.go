package tokenizer

import (
	"os"
	"path/filepath"
	"testing"

	"alphalora/internal/fault"

	"github.com/stretchr/testify/require"
)

func TestReadStated(t *testing.T) {
	for name, c := range map[string]struct {
		config, generation string
		want               Stated
	}{
		"nothing":               {"", "", Stated{BOS: -1}},
		"one":                   {`{"bos_token_id":1,"eos_token_id":2}`, "", Stated{1, []int32{2}}},
		"a list goes before":    {`{"bos_token_id":1,"eos_token_id":2}`, `{"eos_token_id":[3,4]}`, Stated{1, []int32{3, 4}}},
		"null leaves as it was": {`{"eos_token_id":[2,5]}`, `{"eos_token_id":null}`, Stated{-1, []int32{2, 5}}},
		"-1 is none":            {`{"bos_token_id":-1,"eos_token_id":-1}`, "", Stated{-1, nil}},
	} {
		dir := t.TempDir()
		for file, content := range map[string]string{"config.json": c.config, "generation_config.json": c.generation} {
			if content != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644))
			}
		}
		got, err := ReadStated(dir, 10)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	for why, content := range map[string]string{
		"token 10 is outside":  `{"eos_token_id":[1,10]}`,
		"neither an id nor a":  `{"eos_token_id":"two"}`,
		"config.json: cannot":  `{"eos_token_id":`,
		"cannot be read: json": `{"bos_token_id":1.5}`,
		"NUL":                  `{"eos_token_id":1,"x":"\u0000"}`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(content), 0o644))
		_, err := ReadStated(dir, 10)
		require.ErrorContains(t, err, why)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}

func FuzzReadStated(f *testing.F) {
	for _, seed := range []string{`{}`, `{"eos_token_id":[1,2],"bos_token_id":0}`, `{"eos_token_id":-1}`, `[`, `{"eos_token_id":[9999999999]}`} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
		s, err := ReadStated(dir, 10)
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
			return
		}
		require.True(t, s.BOS >= -1 && s.BOS < 10)
		for _, id := range s.Ends {
			require.True(t, id >= 0 && id < 10)
		}
	})
}
