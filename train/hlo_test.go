package train

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// compiled is what the text of a compiled module, the program of one device, tells.
type compiled struct {
	partitions int
	inputs     int64            // bytes of its parameters
	exchanged  map[string]int64 // bytes of the results of each kind of collective operation
	work       int64            // multiplications and additions of its products
	scratch    string           // the size of its temporary memory
}

var (
	partitionsOf = regexp.MustCompile(`num_partitions=(\d+)`)
	inputsOf     = regexp.MustCompile(`entry_computation_layout=\{\((.*?)\)->`)
	definition   = regexp.MustCompile(`^\s*(?:ROOT )?(%[\w.-]+) = (.*?) ([a-z][a-z-]*)\(`)
	shapeOfArray = regexp.MustCompile(`(f32|s32|u32|bf16|s8|u8|pred)\[([\d,]*)\]`)
	productOf    = regexp.MustCompile(`dot\((%[\w.-]+), .*lhs_contracting_dims=\{([\d,]*)\}`)
	scratchOf    = regexp.MustCompile(`size (\S+), preallocated-temp`)
)

var sizes = map[string]int64{"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "s8": 1, "u8": 1, "pred": 1}

func dims(text string) (list []int64, count int64) {
	count = 1
	for _, d := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		n, _ := strconv.ParseInt(d, 10, 64)
		list, count = append(list, n), count*n
	}
	return list, count
}

func bytesOf(text string) (total int64) {
	for _, m := range shapeOfArray.FindAllStringSubmatch(text, -1) {
		_, n := dims(m[2])
		total += sizes[m[1]] * n
	}
	return total
}

// readCompiled reads a module that XLA dumped.
func readCompiled(t *testing.T, path string) compiled {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(content)
	c := compiled{partitions: 1, exchanged: map[string]int64{}}
	if m := partitionsOf.FindStringSubmatch(text); m != nil {
		c.partitions, _ = strconv.Atoi(m[1])
	}
	c.inputs = bytesOf(inputsOf.FindStringSubmatch(text)[1])
	shapes := map[string]string{}
	for line := range strings.Lines(text) {
		m := definition.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		shapes[m[1]] = m[2]
		switch op := m[3]; {
		case slices.Contains([]string{"all-gather", "all-reduce", "all-to-all", "reduce-scatter", "collective-permute"}, op):
			c.exchanged[op] += bytesOf(m[2])
		case op == "dot":
			product := productOf.FindStringSubmatch(line)
			_, out := dims(shapeOfArray.FindStringSubmatch(m[2])[2])
			left, _ := dims(shapeOfArray.FindStringSubmatch(shapes[product[1]])[2])
			summed, _ := dims(product[2])
			work := 2 * out
			for _, axis := range summed {
				work *= left[axis]
			}
			c.work += work
		}
	}
	report, err := os.ReadFile(strings.TrimSuffix(path, ".txt") + "-memory-usage-report.txt")
	require.NoError(t, err)
	c.scratch = scratchOf.FindStringSubmatch(string(report))[1]
	return c
}

// dumped reads the modules of a name in the order in which they were compiled.
func dumped(t *testing.T, dir, name string) (list []compiled) {
	paths, err := filepath.Glob(filepath.Join(dir, "module_*."+name+"_*.cpu_after_optimizations.txt"))
	require.NoError(t, err)
	slices.Sort(paths)
	for _, path := range paths {
		list = append(list, readCompiled(t, path))
	}
	return list
}
