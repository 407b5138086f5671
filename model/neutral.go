package model

// neutral lists the fields of a config.json on which neither the forward pass nor the
// gradients of an adapter depend: names, token ids (the tokenizer's and the generation
// configuration's business), defaults of generation, initialisation, dropout of the
// pretraining, switches of one implementation.
var neutral = setOf(
	"model_type", "architectures", "auto_map", "name_or_path", "_name_or_path", "_commit_hash", "transformers_version",
	"tokenizer_class", "finetuning_task", "task_specific_params", "id2label", "label2id", "num_labels", "problem_type",
	"transformers.js_config", "unsloth_version", "unsloth_fixed", "model_max_length", "license", "prefix",

	"dtype", "torch_dtype", "use_bfloat16", "torchscript", "tf_legacy_loss", "use_cache", "cache_implementation",
	"attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "_flash_attn_2_enabled",
	"gradient_checkpointing", "chunk_size_feed_forward", "return_dict", "output_attentions", "output_hidden_states",

	"initializer_range", "attention_dropout", "attention_probs_dropout_prob", "hidden_dropout", "hidden_dropout_prob",
	"resid_pdrop", "embd_pdrop", "attn_pdrop", "classifier_dropout",

	"bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id",
	"decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "bos_token", "eos_token", "pad_token",

	"max_length", "min_length", "max_new_tokens", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
	"diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
	"no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences",
	"output_scores", "return_dict_in_generate", "exponential_decay_length_penalty", "suppress_tokens",
	"begin_suppress_tokens", "remove_invalid_values", "is_decoder", "pruned_heads",
)

func setOf(keys ...string) map[string]bool {
	set := make(map[string]bool, len(keys))
	for _, key := range keys {
		set[key] = true
	}
	return set
}
