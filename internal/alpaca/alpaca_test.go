package alpaca

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPromptWithoutInput(t *testing.T) {
	require.Equal(t,
		"Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"+
			"### Instruction:\nName a colour.\n\n\n### Response:\n",
		Prompt("Name a colour.\n", ""))
}

func TestPromptWithInput(t *testing.T) {
	require.Equal(t,
		"Below is an instruction that describes a task, paired with an input that provides further context. "+
			"Write a response that appropriately completes the request.\n\n"+
			"### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:\n",
		Prompt("Add.", "1 and 2"))
}
