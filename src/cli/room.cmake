dt_room(cli
  SOURCES main.c options.c help.c common.c prompts.c pictures.c labels.c inspect.c anatomy.c run.c fill.c chat.c shown.c embed.c verify.c trace.c export.c tokenize.c preprocess.c bench.c
  USES base tensor graph backend data nn models formats inference verify export
  
  LINKS PkgConfig::jansson)

# Line editing in `chat`; without libedit its lines are plain.
if(edit_FOUND)
  set_property(SOURCE ${CMAKE_CURRENT_LIST_DIR}/chat.c APPEND PROPERTY COMPILE_DEFINITIONS DT_HAVE_EDIT)
  target_link_libraries(dt_cli PRIVATE PkgConfig::edit)
endif()
