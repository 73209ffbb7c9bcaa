/*
 * export_queue.c - see export_queue.h. Where no thread can be had, sinks run at once on the caller's.
 */
#include "formats/export_queue.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 };

typedef struct slot {
    void *buffer;
    size_t capacity, bytes;
    dt_export_sink sink; /* set: waiting to be written, or being written */
    _Alignas(max_align_t) char user[DT_EXPORT_USER_BYTES];
} slot;

struct dt_export_queue {
    pthread_mutex_t lock; /* guards all below but the bytes in the buffers */
    pthread_cond_t changed;
    pthread_t thread;
    bool threaded, ending;
    slot slot[SLOTS];
    int fill, write; /* the next to be filled, the next to be written */
    dt_status status;
    dt_error err; /* of the first sink that failed */
};

/* Run the sink of a filled slot; the lock is not held. */
static void write_slot(dt_export_queue *q, slot *s)
{
    if (q->status == DT_OK) /* written by this thread alone */
        q->status = s->sink(s->user, s->buffer, s->bytes, &q->err);
}

static void *write_all(void *context)
{
    dt_export_queue *q = context;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        slot *s = &q->slot[q->write];
        while (!s->sink && !q->ending)
            pthread_cond_wait(&q->changed, &q->lock);
        if (!s->sink)
            break;
        pthread_mutex_unlock(&q->lock);
        write_slot(q, s);
        pthread_mutex_lock(&q->lock);
        s->sink = NULL;
        q->write = (q->write + 1) % SLOTS;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

dt_status dt_export_queue_create(dt_export_queue **out, dt_error *err)
{
    dt_export_queue *q = calloc(1, sizeof *q);
    *out = q;
    if (!q)
        return dt_fail_memory(err, sizeof *q, "a queue");
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    q->threaded = pthread_create(&q->thread, NULL, write_all, q) == 0;
    return DT_OK;
}

void dt_export_queue_destroy(dt_export_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->ending = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    if (q->threaded)
        pthread_join(q->thread, NULL);
    for (int i = 0; i < SLOTS; i++)
        free(q->slot[i].buffer);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* Until `slot` is free, or (NULL) all are. */
static dt_status wait_for(dt_export_queue *q, const slot *wanted, dt_error *err)
{
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < SLOTS; i++)
        while (q->slot[i].sink && (!wanted || wanted == &q->slot[i]))
            pthread_cond_wait(&q->changed, &q->lock);
    bool idle = true;
    for (int i = 0; i < SLOTS; i++)
        idle = idle && !q->slot[i].sink;
    /* while the thread writes, status and err are its own */
    dt_status status = idle ? q->status : DT_OK;
    if (status != DT_OK && err)
        *err = q->err;
    pthread_mutex_unlock(&q->lock);
    return status;
}

dt_status dt_export_queue_buffer(dt_export_queue *q, size_t bytes, void **buffer, dt_error *err)
{
    slot *s = &q->slot[q->fill];
    DT_PASS(wait_for(q, s, err));
    if (bytes > s->capacity) {
        void *larger = realloc(s->buffer, bytes);
        if (!larger)
            return dt_fail_memory(err, bytes, "a part of a tensor");
        s->buffer = larger;
        s->capacity = bytes;
    }
    s->bytes = bytes;
    *buffer = s->buffer;
    return DT_OK;
}

void dt_export_queue_put(dt_export_queue *q, dt_export_sink sink, const void *user, size_t user_bytes)
{
    slot *s = &q->slot[q->fill];
    memcpy(s->user, user, user_bytes);
    q->fill = (q->fill + 1) % SLOTS;
    pthread_mutex_lock(&q->lock);
    s->sink = sink;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    if (q->threaded)
        return;
    write_slot(q, s);
    s->sink = NULL;
}

dt_status dt_export_queue_wait(dt_export_queue *q, dt_error *err)
{
    return wait_for(q, NULL, err);
}
