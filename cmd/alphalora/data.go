package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gomlx/go-huggingface/hub"
	"github.com/spf13/cobra"

	"alphalora/eval/benchmark"
	"alphalora/internal/fault"
)

func dataCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "data",
		Short:   "make training and test files of the benchmarks' official files",
		Args:    cobra.NoArgs,
		Example: "  alphalora data prepare cola,rte --from glue_data --out benchmarks",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(started(a, prepareCommand(a)))
	return cmd
}

func prepareCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prepare NAME[,NAME...] (--from DIR | --download) --out DIR",
		Short: "write benchmarks as instruction records for train and eval",
		Long: `prepare reads the official files of benchmarks (GLUE's tables, JSONL, problems.json,
Parquet) and writes each as OUT/NAME/train.json, validation.json and test.json of
{instruction, input, output, answer} records, with a manifest.json of counts and SHA-256.
DIR is one benchmark's folder, or holds one folder a benchmark. --download takes the files
from the datasets of the Hugging Face hub instead, into its usual cache.

docs/evaluation.md has the files and splits of each benchmark.`,
		Args:    cobra.ExactArgs(1),
		Example: "  alphalora data prepare cola,rte --from glue_data --out benchmarks",
	}
	from := cmd.Flags().String("from", "", "`DIR` of the official files")
	cmd.Flags().Bool("download", false, "fetch the official files from the Hugging Face hub")
	out := cmd.Flags().String("out", "", "`DIR` to write to, a folder a benchmark (required)")
	jsonPath := addJSON(cmd)
	cmd.MarkFlagsMutuallyExclusive("from", "download")
	cmd.MarkFlagsOneRequired("from", "download")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *out == "" {
			return fault.Input("--out", "name a directory for the prepared files", "is missing")
		}
		var manifests []benchmark.Manifest
		for _, name := range strings.Split(args[0], ",") {
			m, err := a.prepareData(cmd.Context(), name, *from, *out)
			if err != nil {
				return err
			}
			manifests = append(manifests, m)
		}
		if err := printManifests(a.text(*jsonPath), manifests); err != nil {
			return err
		}
		return a.writeJSON(*jsonPath, manifests)
	}
	return cmd
}

// prepareData prepares one benchmark from a directory, or from the hub where that is empty.
func (a *app) prepareData(ctx context.Context, name, from, out string) (benchmark.Manifest, error) {
	b, err := benchmark.Find(name)
	if err != nil {
		return benchmark.Manifest{}, err
	}
	dataset := ""
	if from == "" {
		if from, dataset, err = a.fetch(ctx, b); err != nil {
			return benchmark.Manifest{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return benchmark.Manifest{}, err
	}
	return b.Prepare(from, dataset, out)
}

// fetch downloads the official files of a benchmark and returns their directory, and the
// dataset with its commit. Environment: HF_ENDPOINT, HF_TOKEN, XDG_CACHE_HOME.
func (a *app) fetch(ctx context.Context, b benchmark.Benchmark) (dir, dataset string, err error) {
	id, patterns := b.Hub()
	if id == "" {
		return "", "", fault.Input("--download "+b.Name, "fetch its file by hand (docs/evaluation.md) and name it by --from",
			"no dataset on the hub has its published questions")
	}
	repo := newRepo(id)
	if err := repo.DownloadInfo(true); err != nil {
		return "", "", fmt.Errorf("%s: cannot be downloaded: %w", id, err)
	}
	var names []string
	for _, f := range repo.Info().Siblings {
		if slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, f.Name); return ok }) {
			names = append(names, f.Name)
		}
	}
	if len(names) == 0 {
		return "", "", fmt.Errorf("%s: holds none of %s", id, strings.Join(patterns, ", "))
	}
	a.say("fetching %d files of %s", len(names), id)
	paths, err := repo.DownloadFilesCtx(ctx, names...)
	if err != nil {
		return "", "", fmt.Errorf("%s: cannot be downloaded: %w", id, err)
	}
	return strings.TrimSuffix(filepath.ToSlash(paths[0]), "/"+names[0]), id + "@" + repo.Info().CommitHash, nil
}

func printManifests(w io.Writer, manifests []benchmark.Manifest) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "benchmark\tsplit\trecords\tsha256\tfrom")
	for _, m := range manifests {
		for _, s := range m.Splits {
			_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%.16s\t%s\n", m.Benchmark, s.Split, s.Records, s.SHA256, s.Sources[0].File)
		}
	}
	return t.Flush()
}

// newRepo is a dataset on the hub.
func newRepo(id string) *hub.Repo {
	repo := hub.New(id).WithType(hub.RepoTypeDataset).WithAuth(os.Getenv("HF_TOKEN")).WithProgressBar(false)
	repo.Verbosity = 0
	return repo
}
