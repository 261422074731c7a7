static size_t ${name}_tile_bytes(const tmac_shape *shape)
{
    return tile_bytes(shape, ${rows});
}

static void ${name}_pack(const tmac_shape *shape, const int8_t *weights, uint32_t rows,
                         uint8_t *tile)
{
    pack_tile(shape, ${rows}, weights, rows, tile);
}

static void ${name}_unpack(const tmac_shape *shape, const uint8_t *tile, uint32_t rows,
                           int8_t *weights)
{
    unpack_tile(shape, ${rows}, tile, rows, weights);
}
