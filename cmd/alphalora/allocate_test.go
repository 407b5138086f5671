package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"alphalora/alphalora"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/weights"
)

// called runs one verb and returns what it wrote to standard output.
func called(t *testing.T, verb func(*app) *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := verb(newApp(&stdout, &stderr))
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return stdout.String(), err
}

func allocatedBy(t *testing.T, args ...string) alphalora.Allocation {
	t.Helper()
	out, err := called(t, allocateCommand, append(args, "--json", "-")...)
	require.NoError(t, err, args)
	var a alphalora.Allocation
	require.NoError(t, json.Unmarshal([]byte(out), &a))
	return a
}

// The released rounding through the command line, where values go through text.
func TestAllocateReleasedCases(t *testing.T) {
	data, err := os.ReadFile(testkit.Shared(t, "reference", "allocation_cases.json"))
	require.NoError(t, err)
	var cases []struct {
		Values  []float64
		Total   int
		Beta    float64
		Experts []int
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	require.Len(t, cases, 160)
	for _, c := range cases {
		var values []string
		for _, v := range c.Values {
			values = append(values, strconv.FormatFloat(v, 'g', -1, 64))
		}
		a := allocatedBy(t, "--values", strings.Join(values, ","), "--experts", fmt.Sprint(c.Total), "--beta", fmt.Sprint(c.Beta), "--rounding", "released")
		require.Equal(t, c.Experts, a.Experts)
		require.Equal(t, c.Total, a.Total)
	}
}

func TestAnalyzeThenAllocate(t *testing.T) {
	dir := testkit.Shared(t, "reference", "spectral")
	spectrum, table := filepath.Join(t.TempDir(), "spectrum.json"), filepath.Join(t.TempDir(), "spectrum.csv")
	_, err := called(t, analyzeCommand, dir, "--json", spectrum, "--csv", table)
	require.NoError(t, err)
	analysis, err := alphalora.ReadAnalysis(spectrum)
	require.NoError(t, err)
	require.Len(t, analysis.Matrices, 42)
	lines, err := os.ReadFile(table)
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(string(lines)), "\n"), 43)

	fromModel := allocatedBy(t, dir, "--experts", "30", "--rounding", "released")
	require.Equal(t, []int{7, 6, 4, 3, 5, 5}, fromModel.Experts)
	require.Equal(t, fromModel, allocatedBy(t, "--spectrum", spectrum, "--experts", "30", "--rounding", "released"))
	// r·(in+out)+in over q, k, v, o, gate, up, down of hidden 192, key-value 96, intermediate 512
	perExpert := int64(2*(8*384+192) + 2*(8*288+192) + 2*(8*704+192) + 8*704 + 512)
	require.Equal(t, 30*perExpert, fromModel.TrainableParameters)
	byPattern := allocatedBy(t, dir, "--strategy", "mola-2468")
	require.Equal(t, []int{2, 2, 4, 6, 6, 8}, byPattern.Experts)
	require.Nil(t, byPattern.Beta)
}

func TestAllocatePublished(t *testing.T) {
	require.Equal(t, int64(105635840), allocatedBy(t, "--published", "llama-2-7b", "--experts", "160").TrainableParameters)
	require.Equal(t, int64(111083520), allocatedBy(t, "--published", "mistral-7b", "--strategy", "mola-2468").TrainableParameters)
}

func TestAllocateRefuses(t *testing.T) {
	for call, reason := range map[string]string{
		"--experts 5": "give one of MODEL",
		"--values 2,3 --published mistral-7b --experts 5": "give one of MODEL",
		"--values 2,3 --experts 1":                        "give at least 2",
		"--values 2,3 --experts 0":                        "must be at least 1",
		"--values 2,3 --experts 4 --r 0":                  "--r 0",
		"--values 2,3 --experts 4 --per-layer 1,2":        "--strategy manual",
		"--values 2,3 --experts 4 --estimator ks":         "that is analysed",
		"--values 2,3 --experts 4 --metric stable_rank":   "--metric",
		"--values 2,NaN --experts 4":                      "value of layer 1",
		"--published gpt --experts 4":                     "llama-2-7b",
	} {
		_, err := called(t, allocateCommand, strings.Fields(call)...)
		require.ErrorContains(t, err, reason, call)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), call)
	}
	_, err := called(t, analyzeCommand, t.TempDir())
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}

// What is wrong with the call is found before the model is analysed, and the warnings of its
// matrices are passed on.
func TestAllocateByModel(t *testing.T) {
	dir := spectralDir(t, 3, func(x *weights.Tensor) {
		if x.Name == model.O.WeightName(1) {
			clear(x.Data)
		}
	})
	for reason, args := range map[string][]string{
		"give at least 3":  {"--experts", "2"},
		"needs a total":    {},
		"beta NaN":         {"--experts", "9", "--beta", "NaN"},
		"unknown metric":   {"--experts", "9", "--metric", "luck"},
		"unknown rounding": {"--experts", "9", "--rounding", "luck"},
	} {
		_, stderr, status := call(t, append([]string{"allocate", dir}, args...)...)
		require.Equal(t, fault.StatusBad, status, reason)
		require.Contains(t, stderr, reason)
		require.NotContains(t, stderr, "spectra:", "it was analysed in vain")
	}
	_, stderr, status := call(t, "allocate", dir, "--experts", "9")
	require.Zero(t, status)
	require.Contains(t, stderr, "warning: "+model.O.WeightName(1)+": no alpha, left out")
}

// A model without the seven projections: the error says what was found.
func TestAnalyzeOtherModel(t *testing.T) {
	dir := t.TempDir()
	header := `{"transformer.h.0.attn.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	file := append([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}, header...)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), append(file, 0, 0, 0, 0), 0o600))
	_, err := called(t, analyzeCommand, dir)
	require.ErrorContains(t, err, "transformer.h.0.attn.weight")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}
