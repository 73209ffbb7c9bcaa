/*
 * album.h - copies of the pictures that a conversation's cache holds, to tell whether a prompt shows the same again.
 */
#ifndef DT_INFERENCE_ALBUM_H
#define DT_INFERENCE_ALBUM_H

#include "inference/request.h"

typedef struct dt_album {
    dt_pixels *picture; /* copies, in the order of their places */
    int64_t *rows;      /* places of each */
    size_t count;
} dt_album;

/* Where the first picture that is not the album's begins among the request's tokens; their count when all are. */
int64_t dt_album_agrees(const dt_album *album, const dt_model_config *config, const dt_request *request);

/* The request's pictures in place of what was there. */
dt_status dt_album_fill(dt_album *album, const dt_model_config *config, const dt_request *request,
                        dt_error *err);
void dt_album_empty(dt_album *album); /* a zeroed one is fine */

#endif
