"""The tiny models that the goldens are made of: every family, and the variants whose arithmetic differs.

A case of style "old" writes the config.json that checkpoints carry which were made before transformers 5, word for
word; one of style "new" lets transformers write its own. Sizes and limits are small enough that windows slide, rows
cross the context of the pretraining, and scores reach the soft caps.
"""

BASE = dict(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5,
    bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
OLD = dict(
    attention_dropout=0.0, initializer_range=0.02, torch_dtype="bfloat16", transformers_version="4.48.0", use_cache=True,
)


def old(model_type, architecture, **fields):
    return dict(style="old", config=BASE | OLD | dict(model_type=model_type, architectures=[architecture]) | fields)


def new(model_type, **fields):
    return dict(style="new", config=BASE | dict(model_type=model_type) | fields)


CASES = {
    "llama-2": old(
        "llama", "LlamaForCausalLM", num_key_value_heads=4, hidden_act="silu", pretraining_tp=1, rope_scaling=None,
        tie_word_embeddings=False, attention_bias=False, _name_or_path="tiny"),
    "llama-3.2": old(
        "llama", "LlamaForCausalLM", head_dim=16, hidden_act="silu", mlp_bias=False, rope_theta=100.0,
        tie_word_embeddings=True, eos_token_id=[2, 3],
        rope_scaling=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32,
                          rope_type="llama3")),
    "llama-yarn": new(
        "llama", head_dim=16, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=64,
                             beta_fast=4.0, beta_slow=1.0)),
    "llama-linear": old(
        "llama", "LlamaForCausalLM", hidden_act="silu", rope_theta=10000.0, tie_word_embeddings=False,
        rope_scaling=dict(type="linear", factor=3.0)),
    "llama-biases": new("llama", attention_bias=True, mlp_bias=True, hidden_act="gelu", tie_word_embeddings=False),
    "tinyllama": new("llama", num_key_value_heads=1, tie_word_embeddings=False),
    "mistral-window": old(
        "mistral", "MistralForCausalLM", hidden_act="silu", rope_theta=10000.0, sliding_window=8,
        tie_word_embeddings=False),
    "mistral-v0.3": new(
        "mistral", head_dim=12, sliding_window=None, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
    "gemma": old(
        "gemma", "GemmaForCausalLM", head_dim=12, num_key_value_heads=1, hidden_act="gelu",
        hidden_activation="gelu_pytorch_tanh", attention_bias=False, rope_theta=10000.0, rope_scaling=None),
    "gemma-2": old(
        "gemma2", "Gemma2ForCausalLM", head_dim=12, num_hidden_layers=4, hidden_act="gelu_pytorch_tanh",
        hidden_activation="gelu_pytorch_tanh", attention_bias=False, rope_theta=10000.0, query_pre_attn_scalar=7,
        sliding_window=8, attn_logit_softcapping=4.0, final_logit_softcapping=1.5, cache_implementation="hybrid"),
    "gemma-2-uncapped": new(
        "gemma2", head_dim=12, query_pre_attn_scalar=20, sliding_window=8, attn_logit_softcapping=None,
        final_logit_softcapping=None, layer_types=["full_attention", "full_attention", "sliding_attention"]),
    "gemma-3": old(
        "gemma3_text", "Gemma3ForCausalLM", head_dim=12, num_hidden_layers=4, hidden_activation="gelu_pytorch_tanh",
        attention_bias=False, query_pre_attn_scalar=7, sliding_window=8, sliding_window_pattern=3, rope_theta=1000.0,
        rope_local_base_freq=50.0, rope_scaling=dict(factor=4.0, rope_type="linear"), attn_logit_softcapping=None,
        final_logit_softcapping=None, cache_implementation="hybrid"),
    "gemma-3-nested": new(
        "gemma3_text", head_dim=12, query_pre_attn_scalar=20, sliding_window=8, final_logit_softcapping=2.0,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=2000.0),
                             sliding_attention=dict(rope_type="default", rope_theta=30.0))),
    "qwen2": old(
        "qwen2", "Qwen2ForCausalLM", hidden_act="silu", rope_theta=1000000.0, sliding_window=4, max_window_layers=1,
        use_sliding_window=False, use_mrope=False, tie_word_embeddings=True),
    "qwen2-windows": old(
        "qwen2", "Qwen2ForCausalLM", hidden_act="silu", rope_theta=100.0, sliding_window=8, max_window_layers=1,
        use_sliding_window=True, tie_word_embeddings=False,
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=32)),
    "qwen3": old(
        "qwen3", "Qwen3ForCausalLM", head_dim=16, hidden_act="silu", rope_theta=1000000.0, rope_scaling=None,
        sliding_window=None, max_window_layers=3, use_sliding_window=False, attention_bias=False,
        tie_word_embeddings=True),
    "qwen3-windows": new(
        "qwen3", head_dim=12, attention_bias=True, use_sliding_window=True, sliding_window=8, tie_word_embeddings=False,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "phi-3": old(
        "phi3", "Phi3ForCausalLM", hidden_act="silu", rope_theta=10000.0, rope_scaling=None, sliding_window=8,
        original_max_position_embeddings=128, resid_pdrop=0.0, embd_pdrop=0.0, attention_bias=False,
        tie_word_embeddings=False, num_key_value_heads=4),
    "phi-4-mini": old(
        "phi3", "Phi3ForCausalLM", hidden_size=64, hidden_act="silu", rope_theta=1000.0, partial_rotary_factor=0.75,
        sliding_window=None, original_max_position_embeddings=32, resid_pdrop=0.0, embd_pdrop=0.0, full_attn_mod=1,
        interpolate_factor=1, lm_head_bias=False, mlp_bias=False, tie_word_embeddings=True, num_hidden_layers=2,
        rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.3, 1.6, 2.0, 2.5],
                          long_factor=[1.5, 2.0, 3.0, 4.5, 7.0, 11.0])),
}
