package model_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"alphalora/internal/fault"
	"alphalora/model"

	"github.com/stretchr/testify/require"
)

const plain = `{"model_type":"llama","vocab_size":64,"hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4`

// TestConfigsThatAreRefused changes one field of a good configuration at a time. The
// error is one line that names file and field, and says what to do.
func TestConfigsThatAreRefused(t *testing.T) {
	_, err := model.ParseDescription("config.json", []byte(plain+"}"))
	require.NoError(t, err)
	for more, why := range map[string]string{
		`"hidden_size":-32`:                            "hidden_size is -32",
		`"hidden_size":0`:                              "hidden_size is 0",
		`"hidden_size":32.5`:                           "hidden_size is 32.5",
		`"hidden_size":1e30`:                           "hidden_size is 1e+30",
		`"hidden_size":"32"`:                           "hidden_size is \"32\": wrong type",
		`"hidden_size":null`:                           "hidden_size is missing",
		`"hidden_size":33`:                             "hidden_size 33 is not a multiple",
		`"vocab_size":[64]`:                            "vocab_size",
		`"num_hidden_layers":100000`:                   "num_hidden_layers",
		`"num_key_value_heads":3`:                      "num_key_value_heads 3",
		`"head_dim":7`:                                 "head_dim 7 is odd",
		`"rms_norm_eps":0`:                             "rms_norm_eps is 0",
		`"rms_norm_eps":-1e-6`:                         "rms_norm_eps",
		`"rope_theta":-1`:                              "rope_theta",
		`"rope_scaling":{"type":"dynamic"}`:            "dynamic",
		`"rope_scaling":{"rope_type":"x"}`:             "rope_type",
		`"rope_scaling":{"type":"linear"}`:             "factor",
		`"hidden_act":"tanh"`:                          "hidden_act",
		`"attn_logit_softcapping":30.0`:                "attn_logit_softcapping",
		`"alibi":true`:                                 "alibi is true: not known here",
		`"sliding_window":16`:                          "sliding_window",
		`"quantization_config":{"bits":4}`:             "quantization_config",
		`"model_type":"mamba"`:                         `model_type "mamba" is not supported`,
		`"model_type":"gemma3"`:                        "gemma3",
		`"num_attention_heads":0`:                      "num_attention_heads is 0",
		`"pretraining_tp":2`:                           "pretraining_tp is 2",
		`"max_position_embeddings":-5`:                 "max_position_embeddings is -5",
		`"tie_word_embeddings":"yes"`:                  "tie_word_embeddings",
		`"intermediate_size":999999999`:                "intermediate_size",
		`"hidden_size":-1,"vocab_size":-2`:             "vocab_size is -2",
		`"rope_scaling":{"type":"linear","factor":-2}`: "factor",
	} {
		_, err := model.ParseDescription("dir/config.json", []byte(plain+","+more+"}"))
		var bad *fault.Bad
		require.ErrorAs(t, err, &bad, more)
		require.ErrorContains(t, err, why, more)
		require.Contains(t, err.Error(), "dir/config.json", more)
		require.NotContains(t, err.Error(), "\n", more)
	}
}

// TestNeutralFieldsAreIgnored lists what real files carry beside the arithmetic.
func TestNeutralFieldsAreIgnored(t *testing.T) {
	want, err := model.ParseDescription("config.json", []byte(plain+"}"))
	require.NoError(t, err)
	got, err := model.ParseDescription("config.json", []byte(plain+`,"architectures":["LlamaForCausalLM"],"torch_dtype":"bfloat16",
		"transformers_version":"4.42.0","use_cache":true,"initializer_range":0.02,"attention_dropout":0.1,"pretraining_tp":1,"bos_token_id":1,
		"eos_token_id":[2,3],"_name_or_path":"x","rope_scaling":null,"attention_bias":false,"something_off":false}`))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestAllProblemsComeTogether gives two wrong fields.
func TestAllProblemsComeTogether(t *testing.T) {
	_, err := model.ParseDescription("config.json", []byte(strings.Replace(plain, `"hidden_size":32`, `"hidden_size":-1`, 1)+`,"alibi":true}`))
	require.ErrorContains(t, err, "hidden_size is -1")
	require.ErrorContains(t, err, "alibi")
}

// FuzzParseDescription gives hostile configurations: a description or a bad input, and a
// description is of bounded size.
func FuzzParseDescription(f *testing.F) {
	f.Add([]byte(plain + "}"))
	files, err := filepath.Glob("testdata/goldens/*/config.json")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := model.ParseDescription("config.json", data)
		if err != nil {
			var bad *fault.Bad
			if !errors.As(err, &bad) {
				t.Fatalf("not told as bad input: %v", err)
			}
			return
		}
		if len(d.Specs()) == 0 || len(d.Specs()) > 1<<16 {
			t.Fatalf("%d tensors", len(d.Specs()))
		}
	})
}
