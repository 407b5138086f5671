package moelora

import (
	"testing"

	"alphalora/internal/fault"
	"alphalora/model"

	"github.com/stretchr/testify/require"
)

var fuzzed = model.Description{Family: "llama", Vocabulary: 30, Hidden: 12, Layers: 3, Heads: 3, KVHeads: 1, HeadDim: 4, Intermediate: 20}

// FuzzPeftConfig reads any bytes as a PEFT configuration: refused as bad input, or good
// for every module.
func FuzzPeftConfig(f *testing.F) {
	for _, seed := range []string{
		`{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],"bias":"none"}`,
		`{"peft_type":"LORA","r":4,"target_modules":"all-linear","rank_pattern":{"layers\\.1.*":2},"alpha_pattern":{"q_proj":3}}`,
		`{"peft_type":"LORA","target_modules":".*[","layers_to_transform":1,"exclude_modules":"x"}`,
		`{"peft_type":"LORA","r":[8,8],"rank_pattern":[],"layers_to_transform":{}}`,
		`{"peft_type":"IA3"}`, `[]`, `{"peft_type":"LORA","alpha_pattern":{"(":1e400}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parsePeft("adapter_config.json", data)
		if err == nil {
			err = c.checkTargets("", places(fuzzed))
		}
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), err)
			return
		}
		for _, at := range places(fuzzed) {
			rank, alpha := c.of(at.module())
			require.Positive(t, rank)
			require.Positive(t, c.scale(rank, alpha))
			c.adapts(at.module(), at.layer)
		}
	})
}

// FuzzManifest reads any bytes as a manifest: refused as bad input, or the shape of an
// adapter of this model.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"peft_type":"MOELORA","format_version":1,"r":2,"lora_alpha":4,"target_modules":["q_proj"],"number_experts":[1,2,0],"top_k":[1,2,0]}`,
		`{"peft_type":"LORA","r":[8,8,8],"lora_alpha":16,"target_modules":["q_proj","v_proj"]}`,
		`{"peft_type":"LORA","r":[8,4]}`, `{"peft_type":"MOELORA","r":2,"lora_alpha":-1}`, `{`,
		`{"peft_type":"MOELORA","r":2,"lora_alpha":1e308,"target_modules":["x_proj"],"number_experts":[-1],"top_k":[9]}`,
	} {
		f.Add([]byte(seed), "base_model.model.model.layers.1.self_attn.q_proj.lora_A_2.weight", 0)
	}
	f.Add([]byte(`{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj"]}`), "base_model.model.model.layers.99999999999999999999.mlp.up_proj.lora_A_99999999999999999999.weight", 3)
	f.Fuzz(func(t *testing.T, data []byte, name string, topK int) {
		m, err := parseManifest("adapter_config.json", data)
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), err)
			return
		}
		s, err := m.shape("", fuzzed, []string{name}, topK)
		if err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), err)
			return
		}
		require.Len(t, s.Experts, fuzzed.Layers)
		require.NotEmpty(t, s.Targets)
		a := &Adapter{Shape: s, Description: fuzzed}
		if err := a.checkNeighbours("", []string{name}); err != nil {
			require.Equal(t, fault.StatusBad, fault.ExitStatus(err), err)
		}
	})
}
