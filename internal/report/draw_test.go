package report

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
)

func TestThinKeepsEndsAndPeak(t *testing.T) {
	for _, n := range []int{601, 602, 1199, 1200, 5000, 100_000} {
		x, y := make([]float64, n), make([]float64, n)
		for i := range x {
			x[i], y[i] = float64(i), math.Sin(float64(i)/50)
		}
		y[n/3] = 40
		kept := thin(x, y, maxPoints)
		require.Len(t, kept, maxPoints)
		require.Equal(t, 0, kept[0])
		require.Equal(t, n-1, kept[len(kept)-1])
		require.Contains(t, kept, n/3)
		for i := 1; i < len(kept); i++ {
			require.Greater(t, kept[i], kept[i-1])
		}
	}
	require.Equal(t, []int{0, 1, 2}, thin([]float64{5, 6, 7}, []float64{1, 1, 1}, 3))
	require.Equal(t, []int{0, 2, 4}, thin([]float64{0, 1, 2, 3, 4}, []float64{0, 1, 9, 1, 0}, 3))
}

func TestLongCurveStaysSmall(t *testing.T) {
	s := Series{Name: "loss", Smooth: 101}
	for i := range 40_000 {
		s.Y = append(s.Y, 1+math.Cos(float64(i)))
	}
	chart := Lines(LineChart{Title: "t", Series: []Series{s}})
	v, err := chart.view("id")
	require.NoError(t, err)
	require.Less(t, len(v.Wide), 64<<10)
	require.Greater(t, strings.Count(string(v.Wide), "L"), maxPoints)
}

func TestSmooth(t *testing.T) {
	require.Equal(t, []float64{1, 2, 4, 7, 9}, smooth([]float64{1, 0, 5, 7, 9}, 3), "the ends stand alone")
	require.Equal(t, smooth([]float64{1, 0, 5, 7, 9}, 3), smooth([]float64{1, 0, 5, 7, 9}, 2), "an even width is the next odd one")
	require.Equal(t, []float64{1, 2, 5}, smooth([]float64{1, 2, 5}, 1))
	require.Equal(t, []float64{1, 2, 3}, smooth([]float64{1, 2, 3}, 99))
	require.Empty(t, smooth(nil, 3))
}

func labels(ticks []plot.Tick) string {
	var all []string
	for _, t := range ticks {
		if t.Label != "" {
			all = append(all, t.Label)
		}
	}
	return strings.Join(all, " ")
}

func TestTicks(t *testing.T) {
	require.Equal(t, "0 5 10 15 20 25 30", labels(linearTicks(span{0, 31}, 7, true)))
	require.Equal(t, "0 1 2", labels(linearTicks(span{0, 2}, 10, true)), "no half layers")
	require.Equal(t, "0 0.5", labels(linearTicks(span{0, 0.9}, 2, false)))
	require.Equal(t, "−0.2 0 0.2", labels(linearTicks(span{-0.3, 0.3}, 4, false)))
	require.Equal(t, "0 1e−06 2e−06", labels(linearTicks(span{0, 2e-6}, 2, false)))
	require.Equal(t, "0.01 0.1 1 10 100", labels(logTicks(span{0.005, 300}, 6)))
	require.Equal(t, "10⁻²⁰ 10⁻¹⁵ 10⁻¹⁰ 10⁻⁵ 1", labels(logTicks(span{1e-21, 10}, 5)))
	require.Equal(t, "2 3 4", labels(logTicks(span{1.5, 4.2}, 4)))
	require.Equal(t, "0 % 20 % 40 % 60 % 80 % 100 %", labels(percentTicks(span{0, 1})))
}

// TestExtremes draws what training gone wrong produces; the drawing stays finite.
func TestExtremes(t *testing.T) {
	for name, y := range map[string][]float64{
		"one": {3}, "constant": {2, 2, 2}, "zero": {0, 0}, "huge": {-1e100, 1e100}, "tiny": {0, 5e-324},
		"close": {1e17, math.Nextafter(1e17, 2e17)}, "mixed": {1e-100, 1e100}, "negative": {-3, -1},
	} {
		for _, log := range []bool{false, true} {
			if log && y[0] <= 0 {
				continue
			}
			chart := Lines(LineChart{Title: name, LogX: log, LogY: log, Series: []Series{{Name: name, X: y, Y: y, Style: Markers}}})
			requireFinite(t, chart)
		}
		labels := make([]string, len(y))
		requireFinite(t, Bars(BarChart{Title: name, Labels: labels, Values: y}))
		intervals := make([][2]float64, len(y))
		for i, v := range y {
			intervals[i] = [2]float64{v, v}
		}
		requireFinite(t, GroupedBars(GroupedBarChart{Title: name, Percent: true, Labels: labels, Groups: []Group{{Values: y, Intervals: intervals}}}))
	}
}

func requireFinite(t *testing.T, c Chart) {
	t.Helper()
	v, err := c.view("id")
	require.NoError(t, err)
	for _, svg := range []string{string(v.Wide), string(v.Narrow)} {
		_, drawing, found := strings.Cut(svg, "</desc>")
		require.True(t, found)
		require.Contains(t, drawing, "<path")
		require.NotContains(t, drawing, "NaN")
		require.NotContains(t, drawing, "Inf")
	}
}

func TestManyLabelsAreThinnedOrSlanted(t *testing.T) {
	chart := func(label func(int) string) Chart {
		var c BarChart
		c.Title = "experts"
		for i := range 32 {
			c.Labels, c.Values = append(c.Labels, label(i)), append(c.Values, 1)
		}
		return Bars(c)
	}
	layers := chart(strconv.Itoa)
	v, err := layers.view("id")
	require.NoError(t, err)
	require.Contains(t, v.Wide, ">31<")
	require.NotContains(t, v.Narrow, ">31<")
	require.Contains(t, v.Narrow, ">30<")
	require.NotContains(t, v.Wide, "rotate(36")
	tasks := chart(func(i int) string { return "a long name of a task " + strconv.Itoa(i) })
	v, err = tasks.view("id")
	require.NoError(t, err)
	require.Contains(t, v.Wide, ">a long name of a …<")
	require.Contains(t, v.Wide, "rotate(36")
}
