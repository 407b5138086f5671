package report_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"alphalora/internal/report"
)

// The page of a training run. REPORT_SAMPLE=DIR keeps it in DIR, to be looked at.
func ExampleWrite() {
	dir := os.Getenv("REPORT_SAMPLE")
	if dir == "" {
		dir = must(os.MkdirTemp("", "report"))
		defer func() { _ = os.RemoveAll(dir) }()
	}
	path := filepath.Join(dir, "report.html")
	if err := report.Write(path, samplePage()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("written:", filepath.Base(path))
	// Output: written: report.html
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func samplePage() report.Page {
	alpha, expertLabels, experts := sampleLayers(32)
	lines := report.Lines(report.LineChart{
		Title: "Tail exponent α of each layer", XLabel: "layer", YLabel: "α",
		Series: []report.Series{{Name: "α", Y: alpha, Style: report.Markers}},
	})
	bars := report.Bars(report.BarChart{
		Title: "Experts of each layer", XLabel: "layer", YLabel: "experts", Labels: expertLabels, Values: experts,
	})
	loss := sampleLoss()
	tasks, table := sampleTasks()
	spectrum := sampleSpectrum()
	return report.Page{
		Title:    "AlphaLoRA on tiny-llama <demo>",
		Subtitle: "Experts placed by the heavy-tailed spectra of the frozen weights, then trained on six tasks.",
		Facts: []report.Fact{
			{Label: "engine", Value: "xla:cpu"}, {Label: "experts", Value: "160"}, {Label: "trainable", Value: "1 056 358"},
			{Label: "accuracy before", Value: "33.1 %"}, {Label: "accuracy after", Value: "89.7 %"}, {Label: "time", Value: "95 s"},
		},
		Sections: []report.Section{
			{Heading: "Spectra", Text: "A low α means a heavy tail: a well-trained layer, which needs fewer experts.", Chart: &lines},
			{Heading: "Allocation", Text: "The experts follow αᵝ, β = 2.5, rounded to the same total.", Chart: &bars,
				Table: layerTable(alpha, experts)},
			{Heading: "Training", Chart: &loss},
			{Heading: "Accuracy", Text: "Held-out items, 200 a task. Whiskers and brackets are 95 % Wilson intervals.", Chart: &tasks, Table: &table},
			{Heading: "One spectrum", Chart: &spectrum},
		},
	}
}

func sampleLayers(n int) (alpha []float64, labels []string, experts []float64) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		alpha = append(alpha, 2.4+1.6*math.Sin(float64(i)/5)*math.Sin(float64(i)/5)+0.2*random.Float64())
		labels = append(labels, strconv.Itoa(i))
		experts = append(experts, math.Round(2*alpha[i]-2.5))
	}
	return alpha, labels, experts
}

func layerTable(alpha, experts []float64) *report.Table {
	t := report.Table{Caption: "α and experts of each layer", Columns: []string{"layer", "α", "experts"}}
	for i := range alpha {
		t.Rows = append(t.Rows, []string{strconv.Itoa(i), fmt.Sprintf("%.3f", alpha[i]), fmt.Sprintf("%.0f", experts[i])})
	}
	return &t
}

func sampleLoss() report.Chart {
	random := rand.New(rand.NewPCG(3, 4))
	s := report.Series{Name: "loss", Smooth: 101}
	for i := range 5000 {
		s.X = append(s.X, float64(i+1))
		s.Y = append(s.Y, 0.4+3*math.Exp(-float64(i)/700)+0.3*random.NormFloat64()*math.Exp(-float64(i)/4000))
	}
	return report.Lines(report.LineChart{Title: "Training loss", XLabel: "step", YLabel: "cross-entropy (nats)", Series: []report.Series{s}})
}

func sampleTasks() (report.Chart, report.Table) {
	names := []string{"copy", "reverse & sort", "a<b comparison", "commonsenseqa", "addition", "last letter"}
	before, after := []float64{0.51, 0.24, 0.48, 0.21, 0.02, 0.3}, []float64{1, 0.86, 0.97, 0.74, 0.91, 0.9}
	t := report.Table{Caption: "Accuracy", Columns: []string{"task", "items", "before", "after", "gain"}}
	groups := []report.Group{{Name: "before", Values: before}, {Name: "after", Values: after}}
	for i, name := range names {
		lines := []string{name, "200"}
		for k := range groups {
			p := groups[k].Values[i]
			lo, hi := wilson(p, 200)
			groups[k].Intervals = append(groups[k].Intervals, [2]float64{lo, hi})
			lines = append(lines, fmt.Sprintf("%.1f %% [%.1f, %.1f]", 100*p, 100*lo, 100*hi))
		}
		t.Rows = append(t.Rows, append(lines, fmt.Sprintf("+%.1f", 100*(after[i]-before[i]))))
	}
	return report.GroupedBars(report.GroupedBarChart{
		Title: "Accuracy before and after training", YLabel: "accuracy", Labels: names, Groups: groups, Percent: true,
	}), t
}

func wilson(p, n float64) (lo, hi float64) {
	const z = 1.96
	centre, half := (p+z*z/(2*n))/(1+z*z/n), z/(1+z*z/n)*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return centre - half, centre + half
}

func sampleSpectrum() report.Chart {
	random := rand.New(rand.NewPCG(5, 6))
	density, fit := report.Series{Name: "eigenvalue density", Style: report.Points}, report.Series{Name: "tail λ^−3.2, λ ≥ 0.8", Style: report.DashedFit}
	for i := range 60 {
		x := math.Pow(10, -2.5+4.2*float64(i)/59)
		density.X = append(density.X, x)
		density.Y = append(density.Y, math.Exp(0.3*random.NormFloat64())*math.Pow(0.1+x, -3.2)*(x/(x+0.1)))
		if x >= 0.8 {
			fit.X = append(fit.X, x)
			fit.Y = append(fit.Y, math.Pow(x, -3.2))
		}
	}
	return report.Lines(report.LineChart{Title: "Eigenvalues of WᵀW, layers.0.q_proj", XLabel: "eigenvalue λ", YLabel: "density",
		LogX: true, LogY: true, Series: []report.Series{density, fit}})
}
