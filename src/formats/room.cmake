# libyaml reads NeMo 2's context/model.yaml; without it such checkpoints need --config.
set(dt_yaml)
if(yaml_FOUND)
  set(dt_yaml PkgConfig::yaml)
endif()

dt_room(formats USES base tensor graph nn models
  SOURCES stored_set.c stored_tiling.c stored_read.c
    safetensors/read.c safetensors/write.c
    torch/zip.c torch/pickle.c torch/pickle_scalar.c torch/pickle_call.c torch/pickle_value.c torch/torch_file.c torch/torch_tensor.c
    torch/pickle_write.c torch/zip_write.c torch/torch_write.c
    mapping.c names.c bind.c check.c checkpoint.c export.c export_queue.c
    hf/families.c hf/shared.c hf/gpt2.c hf/llama.c hf/mixtral.c hf/t5.c hf/qwen2.c hf/qwen3.c hf/olmo2.c hf/nemotron.c
    hf/gpt_neox.c hf/gpt_bigcode.c hf/starcoder2.c hf/gemma.c hf/gemma2.c hf/falcon.c hf/bart.c hf/open.c hf/write.c
    hf/rope.c hf/windows.c hf/experts.c hf/qwen2_moe.c hf/qwen3_moe.c hf/mistral.c hf/phi3.c
    hf/bert_shared.c hf/bert.c hf/roberta.c
    hf/gpt_oss.c
    gguf/families.c gguf/decoders.c gguf/t5.c gguf/open.c gguf/write.c gguf/tokenizer.c
    megatron/distcp.c megatron/config.c megatron/folder.c megatron/layout.c megatron/state.c megatron/legacy.c
    megatron/shapes.c
    megatron/dist.c megatron/nemo.c megatron/ranks.c megatron/writing.c megatron/arguments.c
    megatron/legacy_write.c megatron/dist_write.c megatron/distcp_write.c
    llama2c/read.c llama2c/open.c
    ctranslate2/read.c ctranslate2/config.c ctranslate2/open.c
  HEADERS checkpoint.h
  LINKS PkgConfig::jansson PkgConfig::libdeflate ${dt_yaml})
if(yaml_FOUND AND TARGET dt_formats)
  target_compile_definitions(dt_formats PRIVATE DT_HAVE_YAML)
endif()
