// Four activations in every 32-bit lane.
static inline ${vector} broadcast_four(const uint8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return ${set:format("four")};
}
