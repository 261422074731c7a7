// A tile weight by weight, in a layout where each has bits of its own: byte_of finds the first byte of weight k of a group,
// put_weight sets its bits in a tile whose bytes all start as ${empty}, get_weight reads them.
static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    memset(tile, ${empty}, tile_bytes(shape, row_tile));
    for (uint32_t r = 0; r < row_tile; r++) {
        const int8_t *row = weights + (size_t)r * shape->columns;
        for (uint32_t g = 0, k = 0, in_group = 0; k < shape->columns; k++) {
            put_weight(tile + byte_of(&codes, row_tile, r, g, in_group), row_tile, in_group,
                       r < rows ? row[k] : PADDING);
            if (++in_group == shape->group) {
                g++;
                in_group = 0;
            }
        }
    }
}

static void unpack_tile(const tmac_shape *shape, uint32_t row_tile, const uint8_t *tile,
                        uint32_t rows, int8_t *weights)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    for (uint32_t r = 0; r < rows; r++) {
        int8_t *row = weights + (size_t)r * shape->columns;
        for (uint32_t g = 0, k = 0, in_group = 0; k < shape->columns; k++) {
            row[k] = get_weight(tile + byte_of(&codes, row_tile, r, g, in_group), row_tile, in_group);
            if (++in_group == shape->group) {
                g++;
                in_group = 0;
            }
        }
    }
}
