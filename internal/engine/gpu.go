package engine

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// GPU is one NVIDIA GPU as its driver tells. Memory is in bytes.
type GPU struct {
	Index  int      `json:"index"`
	Name   string   `json:"name"`
	Driver string   `json:"driver"`
	Total  int64    `json:"memory_bytes"`
	Free   int64    `json:"free_bytes"`
	Users  []string `json:"used_by,omitempty"` // other processes: "NAME (process 12, 3.1 GB)"
	uuid   string
}

// smiPlaces are where nvidia-smi lies when PATH does not name it.
var smiPlaces = []string{"/usr/bin", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib"}

// GPUs asks the driver, by nvidia-smi, for the GPUs that this process may use: those that
// CUDA_VISIBLE_DEVICES lists, or all. Its error says why they cannot be told.
func GPUs() ([]GPU, error) {
	program, err := findSMI()
	if err != nil {
		return nil, err
	}
	out, err := ask(program, "--query-gpu=index,uuid,name,driver_version,memory.total,memory.free")
	if err != nil {
		return nil, err
	}
	list, err := parseGPUs(out)
	if err != nil {
		return nil, err
	}
	list = visible(list, os.Getenv("CUDA_VISIBLE_DEVICES"))
	if out, err := ask(program, "--query-compute-apps=gpu_uuid,pid,process_name,used_memory"); err == nil {
		addUsers(list, out, os.Getpid())
	}
	return list, nil
}

func findSMI() (string, error) {
	if path, err := exec.LookPath("nvidia-smi"); err == nil {
		return path, nil
	}
	for _, dir := range smiPlaces {
		if path := filepath.Join(dir, "nvidia-smi"); exec.Command(path).Path == path {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("nvidia-smi is nowhere: the driver cannot be asked for its GPUs")
}

// ask runs one query of nvidia-smi, which hangs where a driver does.
func ask(program, query string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, query, "--format=csv,noheader,nounits").CombinedOutput()
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s: no answer within 20 seconds: the driver hangs", program)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %s", program, oneLine(fmt.Errorf("%w; %s", err, out)))
	}
	return string(out), nil
}

// parseGPUs reads lines "0, GPU-1f, NVIDIA H100, 580.1, 81559, 81000", memory in MiB.
func parseGPUs(text string) ([]GPU, error) {
	var list []GPU
	for _, row := range rows(text, 6) {
		index, err := strconv.Atoi(row[0])
		total, totalErr := mebibytes(row[4])
		free, freeErr := mebibytes(row[5])
		if err != nil || totalErr != nil || freeErr != nil {
			return nil, fmt.Errorf("nvidia-smi tells %q, which is not understood", strings.Join(row, ", "))
		}
		list = append(list, GPU{Index: index, uuid: row[1], Name: row[2], Driver: row[3], Total: total, Free: free})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("nvidia-smi tells of no GPU: %s", oneLine(fmt.Errorf("%s", text)))
	}
	return list, nil
}

// addUsers notes which processes other than own hold memory of which GPU.
func addUsers(list []GPU, text string, own int) {
	for _, row := range rows(text, 4) {
		if row[1] == strconv.Itoa(own) {
			continue
		}
		size := "unknown"
		if n, err := mebibytes(row[3]); err == nil {
			size = fmt.Sprintf("%.1f GB", float64(n)/1e9)
		}
		for i := range list {
			if list[i].uuid == row[0] {
				list[i].Users = append(list[i].Users, fmt.Sprintf("%s (process %s, %s)", row[2], row[1], size))
			}
		}
	}
}

// rows reads comma-separated lines of so many fields; others are passed over.
func rows(text string, fields int) [][]string {
	var list [][]string
	for line := range strings.Lines(text) {
		reader := csv.NewReader(strings.NewReader(line))
		reader.TrimLeadingSpace, reader.LazyQuotes, reader.FieldsPerRecord = true, true, -1
		if row, err := reader.Read(); err == nil && len(row) == fields {
			list = append(list, row)
		}
	}
	return list
}

func mebibytes(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, fmt.Errorf("%q is no number of MiB", text)
	}
	return n << 20, nil
}

// visible keeps the GPUs of CUDA_VISIBLE_DEVICES, in its order: numbers, or the beginnings
// of UUIDs, up to the first that is neither.
func visible(list []GPU, devices string) []GPU {
	if strings.TrimSpace(devices) == "" {
		return list
	}
	var kept []GPU
	for name := range strings.SplitSeq(devices, ",") {
		name = strings.TrimSpace(name)
		found := false
		for _, g := range list {
			if name == strconv.Itoa(g.Index) || len(name) > 4 && strings.HasPrefix(g.uuid, name) {
				kept, found = append(kept, g), true
				break
			}
		}
		if !found {
			break
		}
	}
	return kept
}

// leastDriver is the oldest driver with which a version of CUDA runs.
var leastDriver = map[int]int{12: 525, 13: 580}

// DriverFits tells whether the driver runs a plugin of that version of CUDA: nil, or why
// not and what to do. Unknown versions fit.
func DriverFits(cuda int, driver string) error {
	major, _, _ := strings.Cut(driver, ".")
	have, err := strconv.Atoi(major)
	least, known := leastDriver[cuda]
	if err != nil || !known || have >= least {
		return nil
	}
	remedy := "install a newer driver"
	if cuda > 12 && have >= leastDriver[12] {
		remedy += `, or a plugin for CUDA 12: pip install "jax[cuda12]"`
	}
	return fmt.Errorf("the plugin is for CUDA %d, which needs driver %d or newer, and this is %s (%s)", cuda, least, driver, remedy)
}
