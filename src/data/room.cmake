# The tokenizers and pictures; sentencepiece's file format is compiled from its .proto by protoc-c.
find_program(PROTOC_C NAMES protoc-c REQUIRED)

set(dt_data_proto ${CMAKE_CURRENT_LIST_DIR}/tokenizer/sentencepiece.proto)
set(dt_data_made ${CMAKE_BINARY_DIR}/made/data)
file(MAKE_DIRECTORY ${dt_data_made})
add_custom_command(
  OUTPUT ${dt_data_made}/sentencepiece.pb-c.c ${dt_data_made}/sentencepiece.pb-c.h
  COMMAND ${PROTOC_C} --c_out=${dt_data_made} --proto_path=${CMAKE_CURRENT_LIST_DIR}/tokenizer ${dt_data_proto}
  DEPENDS ${dt_data_proto}
  COMMENT "protoc-c sentencepiece.proto")

# Each decoder of pictures is built where its library is; without it decode.c refuses that format by name.
set(dt_image_decoders)
set(dt_image_libraries)
set(dt_image_have)
foreach(decoder jpeg png webp)
  if(${decoder}_FOUND)
    list(APPEND dt_image_decoders image/${decoder}.c)
    list(APPEND dt_image_libraries PkgConfig::${decoder})
    string(TOUPPER DT_HAVE_${decoder} have)
    list(APPEND dt_image_have ${have})
  else()
    message(STATUS "${decoder} pictures: library not found, they will be refused")
  endif()
endforeach()

dt_room(data
  HEADERS tokenizer.h chat.h image.h
  USES tensor base
  SOURCES
    tokenizer/tokenizer.c tokenizer/folder.c tokenizer/companions.c tokenizer/recipe.c tokenizer/tokenizer_json.c
    tokenizer/added_tokens.c tokenizer/normalizer.c tokenizer/pre_tokenizer.c tokenizer/post_processor.c
    tokenizer/decoder.c tokenizer/bpe.c tokenizer/bpe_merge.c tokenizer/unigram.c tokenizer/wordpiece.c
    tokenizer/wordlevel.c tokenizer/sentencepiece.c tokenizer/sentencepiece_bpe.c tokenizer/charsmap.c
    tokenizer/splits.c tokenizer/tiktoken.c tokenizer/base64.c
    tokenizer/regex.c tokenizer/gguf_vocabulary.c tokenizer/gguf_describe.c tokenizer/gguf_files.c tokenizer/llama2c.c tokenizer/fairseq.c tokenizer/scan.c tokenizer/words.c
    tokenizer/darray.c tokenizer/unicode.c tokenizer/vocab.c tokenizer/trie.c
    chat/chat_template.c
    image/decode.c image/picture.c image/exif.c image/resize.c image/resize_fast.c image/resize_pillow.c
    image/resize_torchvision.c
    image/config.c image/processor.c image/tiling.c image/write_png.c ${dt_image_decoders}
    jinja/template.c jinja/lexer.c jinja/parser.c jinja/parse_expression.c jinja/value.c jinja/text_of.c
    jinja/json_of.c jinja/compare.c jinja/attribute.c jinja/evaluate.c jinja/operators.c jinja/execute.c
    jinja/call.c jinja/filters.c jinja/filters_sequence.c jinja/filters_text.c jinja/text_work.c jinja/tests.c
    jinja/methods.c jinja/methods_text.c jinja/globals.c jinja/format.c jinja/characters.c
  LINKS PkgConfig::pcre2 PkgConfig::utf8proc PkgConfig::protobuf-c PkgConfig::jansson ${dt_image_libraries})

target_sources(dt_data PRIVATE ${dt_data_made}/sentencepiece.pb-c.c)
target_include_directories(dt_data PRIVATE ${dt_data_made})
set_source_files_properties(${dt_data_made}/sentencepiece.pb-c.c PROPERTIES COMPILE_OPTIONS -w)
target_compile_definitions(dt_data PRIVATE ${dt_image_have})
