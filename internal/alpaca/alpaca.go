// Package alpaca holds the Alpaca instruction wrapper, once, so that a prompt
// that is trained on and a prompt that is evaluated are the same bytes.
//
// The wording is Stanford Alpaca's (Taori et al., 2023), as the AlphaLoRA, MoLA
// and LLM-Adapters experiments use it. A prompt ends with "### Response:" and a
// line break; the answer follows directly.
package alpaca

import "strings"

const (
	plain  = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
	paired = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request."
)

// ResponseHeader is the line after which the answer starts.
const ResponseHeader = "### Response:"

// Prompt wraps an instruction and, where it is not empty, its input. Both are
// taken as they are: no trimming, for the benchmarks' instructions end with a
// line break that the published runs keep.
func Prompt(instruction, input string) string {
	if input == "" {
		return plain + "\n\n### Instruction:\n" + instruction + "\n\n" + ResponseHeader + "\n"
	}
	return paired + "\n\n### Instruction:\n" + instruction + "\n\n### Input:\n" + input + "\n\n" + ResponseHeader + "\n"
}

// StepByStep is the wrapper of MetaMath (Yu et al., 2023), in training and evaluation:
// the answer follows the last full stop directly.
func StepByStep(instruction, input string) string {
	return strings.TrimSuffix(Prompt(instruction, input), "\n") + " Let's think step by step."
}
