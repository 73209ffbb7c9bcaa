/*
 * export_queue.h - two buffers between making a tensor's bytes and writing them: while a thread of its own writes the one,
 * the caller fills the other. Sinks run in the order they were put, on that thread.
 */
#ifndef DT_FORMATS_EXPORT_QUEUE_H
#define DT_FORMATS_EXPORT_QUEUE_H

#include "base/fail.h"

#include <stddef.h>

typedef dt_status (*dt_export_sink)(void *user, const void *data, size_t bytes, dt_error *err);

typedef struct dt_export_queue dt_export_queue;

enum { DT_EXPORT_USER_BYTES = 64 };

dt_status dt_export_queue_create(dt_export_queue **out, dt_error *err);
void dt_export_queue_destroy(dt_export_queue *queue); /* waits; NULL is fine */

/* A buffer of so many bytes, as soon as one is free. Errors: what a sink failed with before. */
dt_status dt_export_queue_buffer(dt_export_queue *queue, size_t bytes, void **buffer, dt_error *err);
/* Hand the buffer on to `sink` with a copy of *user, at most DT_EXPORT_USER_BYTES. */
void dt_export_queue_put(dt_export_queue *queue, dt_export_sink sink, const void *user, size_t user_bytes);
/* Until all is written. Errors: the first that a sink failed with; none ran after it. */
dt_status dt_export_queue_wait(dt_export_queue *queue, dt_error *err);

#endif
