// Package model says what a decoder is: its [Description] read from config.json, its
// seven projections a layer, the forward pass, and the seam where an adapter adds to a
// projection ([Delta]).
//
// The forward pass is one function for all families; a family is a row of the table in
// family.go that turns a config.json into a Description.
package model

// Activation of the gated MLP.
type Activation string

// The activations that families use.
const (
	SiLU     Activation = "silu"
	GELU     Activation = "gelu" // exact
	GELUTanh Activation = "gelu_tanh"
)

// activations are the names of config.json.
var activations = map[string]Activation{
	"silu": SiLU, "swish": SiLU, "gelu": GELU, "gelu_pytorch_tanh": GELUTanh, "gelu_new": GELUTanh,
}

// Description holds everything that the arithmetic of a decoder depends on.
type Description struct {
	Family       string `json:"family"`
	Vocabulary   int    `json:"vocabulary"`   // V, rows of the embedding
	Hidden       int    `json:"hidden"`       // C
	Layers       int    `json:"layers"`       //
	Heads        int    `json:"heads"`        // H, query heads
	KVHeads      int    `json:"kv_heads"`     // K, key/value heads; H is a multiple
	HeadDim      int    `json:"head_dim"`     // D
	Intermediate int    `json:"intermediate"` // width of the gated MLP
	Context      int    `json:"context"`      // positions that the checkpoint states

	NormEps    float64    `json:"norm_eps"`    //
	NormOffset float64    `json:"norm_offset"` // 0: norm weights multiply; 1: (1 + w)
	QKNorms    bool       `json:"qk_norms"`    // each head's query and key are normed before they are rotated
	PostNorms  bool       `json:"post_norms"`  // what attention and MLP give is normed too, before it is added
	EmbedScale float64    `json:"embed_scale"` // factor on the embedding, rounded to its number format; 1 for none
	Activation Activation `json:"activation"`  //
	Biases     []Site     `json:"biases"`      // the projections that add a bias

	AttentionScale float64 `json:"attention_scale"`      // factor on q·k, 1/√D in most families
	AttentionCap   float64 `json:"attention_cap"`        // c of c·tanh(x/c) on the scores of attention; 0 for none
	LogitCap       float64 `json:"logit_cap"`            // the same on the scores of the vocabulary
	Windows        []int   `json:"windows,omitempty"`    // a layer's positions that a query sees, its own the last; 0 or nil: all
	Rope           Rope    `json:"rope"`                 //
	LocalRope      *Rope   `json:"local_rope,omitempty"` // of the layers with a window, where it is another one

	Tied  bool `json:"tied"`  // the head is the embedding
	Fused bool `json:"fused"` // the checkpoint holds q, k, v in one matrix, and gate, up in another
}

// SiteDims returns the input and output width of a projection.
func (d Description) SiteDims(s Site) (in, out int) {
	query, kv := d.Heads*d.HeadDim, d.KVHeads*d.HeadDim
	switch s {
	case Q:
		return d.Hidden, query
	case K, V:
		return d.Hidden, kv
	case O:
		return query, d.Hidden
	case Gate, Up:
		return d.Hidden, d.Intermediate
	default:
		return d.Intermediate, d.Hidden
	}
}

// Window is the number of positions that a query of a layer sees; 0 for all.
func (d Description) Window(layer int) int {
	if d.Windows == nil {
		return 0
	}
	return d.Windows[layer]
}

// RopeBorder is the number of tokens after which a row is rotated in another way, so
// that its cache must be made anew; 0 where there is none.
func (d Description) RopeBorder() int { return d.Rope.Border }
