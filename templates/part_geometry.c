// The codes of a row: ${code_length} weights along K in one. Each scale group is padded to whole codes by itself, so the codes
// of group g start at code g * full.
typedef struct geometry {
    uint32_t groups; // scale groups in a row
    uint32_t full;   // codes of every group but the last
    uint32_t last;   // codes of the last group
    uint32_t total;  // codes of a row
} geometry;

static inline geometry geometry_of(uint32_t columns, uint32_t group)
{
    geometry shape;
    shape.groups = (columns + group - 1) / group;
    shape.full = (group + ${code_length - 1}) / ${code_length};
    shape.last = (columns - (shape.groups - 1) * group + ${code_length - 1}) / ${code_length};
    shape.total = (shape.groups - 1) * shape.full + shape.last;
    return shape;
}
