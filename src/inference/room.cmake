dt_room(inference
  SOURCES model.c context.c step.c scores.c processors.c sampling.c beam.c harvest.c request.c result.c places.c generate.c conversation.c
          generation_config.c stops.c text.c text_pictures.c embed.c embeddings.c embed_options.c fill.c look.c among.c see.c album.c classify.c embed_pictures.c similarity.c wrappers/abstract.c wrappers/gpt.c wrappers/t5.c wrappers/vlm.c
  USES base tensor graph backend data nn models formats
  HEADERS inference.h picture.h conversation.h text.h embed.h fill.h classify.h
  LINKS PkgConfig::jansson)
