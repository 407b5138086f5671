package serve

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics tells; docs/serving.md lists them.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	firstToken prometheus.Histogram
	tokens     *prometheus.CounterVec
	refused    *prometheus.CounterVec
	rounds     prometheus.Histogram
	running    prometheus.Gauge
}

// spans are the buckets of times, in seconds.
var spans = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

func newMetrics(q *queue) *metrics {
	name := func(n, help string) prometheus.Opts { return prometheus.Opts{Name: "alphalora_" + n, Help: help} }
	times := func(n, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "alphalora_" + n, Help: help, Buckets: spans}
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		requests:   prometheus.NewCounterVec(prometheus.CounterOpts(name("requests_total", "Requests answered; status 499 are clients that left.")), []string{"endpoint", "status"}),
		seconds:    prometheus.NewHistogramVec(times("request_seconds", "Time from a request's headers to the end of its answer."), []string{"endpoint"}),
		firstToken: prometheus.NewHistogram(times("first_token_seconds", "Time from a request to its first token.")),
		tokens:     prometheus.NewCounterVec(prometheus.CounterOpts(name("tokens_total", "Tokens of answered requests, by kind: prompt or generated.")), []string{"kind"}),
		refused:    prometheus.NewCounterVec(prometheus.CounterOpts(name("refused_total", "Requests refused with status 429, by the limit: queue or requests.")), []string{"limit"}),
		rounds:     prometheus.NewHistogram(times("round_seconds", "Time of a round: reading what is new, decoding some tokens of each row.")),
		running:    prometheus.NewGauge(prometheus.GaugeOpts(name("running", "Choices that decode now."))),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts(name("waiting", "Choices that wait for a row.")), func() float64 { return float64(q.length()) })
	m.registry.MustRegister(m.requests, m.seconds, m.firstToken, m.tokens, m.refused, m.rounds, m.running, waiting,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) answered(endpoint string, status int, took time.Duration, u usage) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(endpoint).Observe(took.Seconds())
	m.tokens.WithLabelValues("prompt").Add(float64(u.Prompt))
	m.tokens.WithLabelValues("generated").Add(float64(u.Completion))
}
