/* seeing.h - a small model with eyes: a language model of 24 columns behind a tower of 16, whose pictures are 4 x 4 patches
 * behind a class token. */
#ifndef DT_UNIT_SEEING_H
#define DT_UNIT_SEEING_H

#include <drivetrain/config.h>

#include <stdio.h>

typedef struct seeing {
    dt_model_config c;
    dt_config_parts parts;
} seeing;

static inline void seeing_part(dt_model_config *c, const char *type, int64_t hidden)
{
    dt_config_init(c);
    snprintf(c->model_type, sizeof c->model_type, "%s", type);
    snprintf(c->family, sizeof c->family, "megatron_%s", type);
    c->position_embedding_type = DT_POSITION_NONE;
    c->num_layers = 3;
    c->hidden_size = hidden;
    c->num_attention_heads = 2;
}

static inline void make_seeing(seeing *s)
{
    seeing_part(&s->parts.vision, "clip_vit", 16);
    s->parts.vision.patch_dim = 4;
    s->parts.vision.img_h = s->parts.vision.img_w = 16;
    s->parts.vision.class_token_len = 1;
    s->parts.vision.ln_post = true;
    seeing_part(&s->parts.projection, "projector", 24);
    s->parts.projection.input_size = 16;
    seeing_part(&s->c, "llava", 24);
    s->c.vocab_size = 50;
    s->c.image_token_index = -200;
    s->c.drop_class_token = true;
    s->c.vision = &s->parts.vision;
    s->c.projection = &s->parts.projection;
    dt_config_derive(&s->parts.vision);
    dt_config_derive(&s->parts.projection);
    dt_config_derive(&s->c);
}

#endif
