dt_room(cli
  SOURCES main.c options.c help.c common.c prompts.c inspect.c run.c embed.c verify.c trace.c export.c tokenize.c bench.c
  USES base tensor graph backend data nn models formats inference verify export
  
  LINKS PkgConfig::jansson)
