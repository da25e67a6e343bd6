// The layers of a network that are neither matrix products nor dense convolutions, over maps [n, h, w, c] with the channels next
// to each other, with their gradients, and the masks of dropout. Compiled at run time by NVRTC, without any header; with
// TAPER_HOST by a C++ compiler, so that a machine without a GPU can check them (src/tests.rs).
//
// Every kernel walks a grid-stride loop over vectors of V channels (or, where channels are summed, over rows of them) and
// writes each output once: no atomics, so that the same input gives the same bytes. All sums are f32, in a fixed order.

#ifdef TAPER_HOST
#include <math.h>
#include <string.h>
struct Index { unsigned x; };
static thread_local Index blockIdx, blockDim, gridDim, threadIdx;
extern "C" void place_thread(unsigned block, unsigned blocks, unsigned thread, unsigned threads) {
    blockIdx.x = block, gridDim.x = blocks, threadIdx.x = thread, blockDim.x = threads;
}
#define __global__
#define __device__ inline
static unsigned float_bits(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static float bits_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
static float half_float(unsigned short h) { _Float16 x; memcpy(&x, &h, 2); return (float)x; }
static unsigned short float_half(float f) { _Float16 x = (_Float16)f; unsigned short h; memcpy(&h, &x, 2); return h; }
// Threads run one after the other there: each is a warp of its own.
#define WARP 1u
static float warp_sum(float x) { return x; }
#else
__device__ unsigned float_bits(float x) { return __float_as_uint(x); }
__device__ float bits_float(unsigned u) { return __uint_as_float(u); }
__device__ float half_float(unsigned short h) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h)); return f; }
__device__ unsigned short float_half(float f) { unsigned short h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f)); return h; }
#define WARP 32u
// The same sum in all lanes, always in the same order.
__device__ float warp_sum(float x) {
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}
#endif

typedef unsigned char u8;

struct F32 {
    float bits;
    __device__ float get() const { return bits; }
    __device__ void set(float x) { bits = x; }
};
struct F16 {
    unsigned short bits;
    __device__ float get() const { return half_float(bits); }
    __device__ void set(float x) { bits = float_half(x); }
};
struct BF16 {
    unsigned short bits;
    __device__ float get() const { return bits_float((unsigned)bits << 16); }
    // To the nearest, ties to even; what is not a number stays so.
    __device__ void set(float x) {
        unsigned u = float_bits(x);
        bits = (u & 0x7fffffffu) > 0x7f800000u ? (unsigned short)(u >> 16 | 0x40) : (unsigned short)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
    }
};

// V neighbouring channels: one load or store of up to 16 bytes.
template <typename T, int V> struct alignas(sizeof(T) * V) Pack { T at[V]; };

// V neighbouring numbers of a filter, by fours where they lie so: a warp then reads its filters in an eighth of the transactions.
template <int V> __device__ void read(const float* from, float* to) {
    if (V % 4 == 0) {
        const Pack<F32, 4>* packs = (const Pack<F32, 4>*)from;
        for (int i = 0; i < V / 4; i++) {
            Pack<F32, 4> pack = packs[i];
            for (int j = 0; j < 4; j++) to[4 * i + j] = pack.at[j].bits;
        }
    } else {
        for (int j = 0; j < V; j++) to[j] = from[j];
    }
}

// A window that slides over maps. The host's `Window` in src/custom.rs has the same fields.
struct Window {
    unsigned n, height, width, channels, out_height, out_width, kernel, stride, dilation, top, left, activation;
};

// What pixels are normalised by, per channel. The host's `Affine` has the same fields.
struct Affine {
    float scale[3], shift[3];
};

__device__ float activate(float x, unsigned activation) {
    // Not a number stays so.
    if ((activation == 1 || activation == 2) && x < 0.0f) x = 0.0f;
    if (activation == 2 && x > 6.0f) x = 6.0f;
    // GELU with the exact Gaussian distribution.
    if (activation == 3) x = 0.5f * x * (1.0f + erff(x * 0.70710678f));
    // Its approximations.
    if (activation == 4) x = x / (1.0f + expf(-1.702f * x));
    if (activation == 5) x = x / (1.0f + expf(-1.5957691f * (x + 0.044715f * x * x * x)));
    return x;
}

// The derivative of x times the sigmoid of an argument, from it and x times its derivative.
__device__ float sigmoid_slope(float argument, float growth) {
    float share = 1.0f / (1.0f + expf(-argument));
    return share + growth * share * (1.0f - share);
}

#define FOR_EACH(i, total) \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (total); i += gridDim.x * blockDim.x)

// u8 [pixels, 3] to scale * x + shift, in C channels, those beyond the third 0.
template <typename T> __device__ void normalise(const u8* x, T* y, unsigned pixels, unsigned channels, Affine affine) {
    FOR_EACH(i, pixels * channels) {
        unsigned c = i % channels;
        y[i].set(c < 3 ? (float)x[i / channels * 3 + c] * affine.scale[c] + affine.shift[c] : 0.0f);
    }
}

// Rows of a matrix product: each output pixel's window, tap by tap, its channels within.
template <typename T, int V> __device__ void unfold(const T* x, T* y, Window w) {
    const Pack<T, V>* in = (const Pack<T, V>*)x;
    Pack<T, V>* out = (Pack<T, V>*)y;
    unsigned vectors = w.channels / V;
    FOR_EACH(i, w.n * w.out_height * w.out_width * w.kernel * w.kernel * vectors) {
        unsigned v = i % vectors, rest = i / vectors;
        unsigned kx = rest % w.kernel; rest /= w.kernel;
        unsigned ky = rest % w.kernel; rest /= w.kernel;
        unsigned ox = rest % w.out_width; rest /= w.out_width;
        unsigned oy = rest % w.out_height, n = rest / w.out_height;
        // Below 0 wraps round to far beyond the edge.
        unsigned iy = oy * w.stride + ky * w.dilation - w.top, ix = ox * w.stride + kx * w.dilation - w.left;
        Pack<T, V> value;
        if (iy < w.height && ix < w.width) value = in[((n * w.height + iy) * w.width + ix) * vectors + v];
        else for (int j = 0; j < V; j++) value.at[j].set(0.0f);
        out[i] = value;
    }
}

// Each channel with its own filter: weights f32 [kernel, kernel, channels], bias f32 [channels].
template <typename T, int V> __device__ void depthwise(const T* x, const float* weights, const float* bias, T* y, Window w) {
    const Pack<T, V>* in = (const Pack<T, V>*)x;
    Pack<T, V>* out = (Pack<T, V>*)y;
    unsigned vectors = w.channels / V;
    FOR_EACH(i, w.n * w.out_height * w.out_width * vectors) {
        unsigned v = i % vectors, rest = i / vectors;
        unsigned ox = rest % w.out_width; rest /= w.out_width;
        unsigned oy = rest % w.out_height, n = rest / w.out_height;
        float sum[V], tap[V];
        read<V>(bias + v * V, sum);
        for (unsigned ky = 0; ky < w.kernel; ky++) {
            unsigned iy = oy * w.stride + ky * w.dilation - w.top;
            if (iy >= w.height) continue;
            for (unsigned kx = 0; kx < w.kernel; kx++) {
                unsigned ix = ox * w.stride + kx * w.dilation - w.left;
                if (ix >= w.width) continue;
                Pack<T, V> value = in[((n * w.height + iy) * w.width + ix) * vectors + v];
                read<V>(weights + (ky * w.kernel + kx) * w.channels + v * V, tap);
                for (int j = 0; j < V; j++) sum[j] += value.at[j].get() * tap[j];
            }
        }
        Pack<T, V> result;
        for (int j = 0; j < V; j++) result.at[j].set(activate(sum[j], w.activation));
        out[i] = result;
    }
}

// Pixels that a thread of `pointwise` takes together, so that it reads a filter once for all of them.
#define TOGETHER 4u

// A pointwise convolution between thin maps: weights f32 [in, out], bias f32 [out]; y = activation(x * weights + bias + residual), a
// residual of null is none.
template <typename T, int V> __device__ void pointwise(const T* x, const float* weights, const float* bias, const T* residual, T* y, unsigned pixels, unsigned in, unsigned out, unsigned activation) {
    unsigned vectors = out / V, reads = in / V;
    const Pack<T, V>* from = (const Pack<T, V>*)x;
    const Pack<T, V>* add = (const Pack<T, V>*)residual;
    Pack<T, V>* to = (Pack<T, V>*)y;
    FOR_EACH(i, (pixels + TOGETHER - 1) / TOGETHER * vectors) {
        unsigned v = i % vectors, first = i / vectors * TOGETHER;
        float sum[TOGETHER][V], weight[V];
        read<V>(bias + v * V, weight);
        for (unsigned p = 0; p < TOGETHER; p++)
            for (int j = 0; j < V; j++) sum[p][j] = weight[j];
        for (unsigned r = 0; r < reads; r++) {
            Pack<T, V> value[TOGETHER];
            for (unsigned p = 0; p < TOGETHER; p++) {
                // Beyond the end the last pixel is read again, and not written.
                unsigned pixel = first + p < pixels ? first + p : pixels - 1;
                value[p] = from[pixel * reads + r];
            }
            for (int k = 0; k < V; k++) {
                read<V>(weights + (r * V + k) * out + v * V, weight);
                for (unsigned p = 0; p < TOGETHER; p++) {
                    float input = value[p].at[k].get();
                    for (int j = 0; j < V; j++) sum[p][j] += input * weight[j];
                }
            }
        }
        for (unsigned p = 0; p < TOGETHER; p++) {
            if (first + p >= pixels) break;
            unsigned at = (first + p) * vectors + v;
            Pack<T, V> result;
            if (residual) {
                Pack<T, V> other = add[at];
                for (int j = 0; j < V; j++) sum[p][j] += other.at[j].get();
            }
            for (int j = 0; j < V; j++) result.at[j].set(activate(sum[p][j], activation));
            to[at] = result;
        }
    }
}

// The maximum over each window; what lies outside never wins.
template <typename T, int V> __device__ void max_pool(const T* x, T* y, Window w) {
    const Pack<T, V>* in = (const Pack<T, V>*)x;
    Pack<T, V>* out = (Pack<T, V>*)y;
    unsigned vectors = w.channels / V;
    FOR_EACH(i, w.n * w.out_height * w.out_width * vectors) {
        unsigned v = i % vectors, rest = i / vectors;
        unsigned ox = rest % w.out_width; rest /= w.out_width;
        unsigned oy = rest % w.out_height, n = rest / w.out_height;
        float highest[V];
        for (int j = 0; j < V; j++) highest[j] = bits_float(0xff800000u);
        for (unsigned ky = 0; ky < w.kernel; ky++) {
            unsigned iy = oy * w.stride + ky - w.top;
            if (iy >= w.height) continue;
            for (unsigned kx = 0; kx < w.kernel; kx++) {
                unsigned ix = ox * w.stride + kx - w.left;
                if (ix >= w.width) continue;
                Pack<T, V> value = in[((n * w.height + iy) * w.width + ix) * vectors + v];
                for (int j = 0; j < V; j++) {
                    float f = value.at[j].get();
                    if (f > highest[j] || f != f) highest[j] = f;
                }
            }
        }
        Pack<T, V> result;
        for (int j = 0; j < V; j++) result.at[j].set(highest[j]);
        out[i] = result;
    }
}

// y = activation(y + bias + residual), in place; a residual of null is none.
template <typename T, int V> __device__ void finish(T* y, const float* bias, const T* residual, unsigned rows, unsigned channels, unsigned activation) {
    Pack<T, V>* out = (Pack<T, V>*)y;
    const Pack<T, V>* add = (const Pack<T, V>*)residual;
    unsigned vectors = channels / V;
    FOR_EACH(i, rows * vectors) {
        unsigned v = i % vectors;
        Pack<T, V> value = out[i];
        Pack<T, V> other = residual ? add[i] : value;
        float shift[V];
        read<V>(bias + v * V, shift);
        for (int j = 0; j < V; j++) {
            float f = value.at[j].get() + shift[j];
            if (residual) f += other.at[j].get();
            value.at[j].set(activate(f, activation));
        }
        out[i] = value;
    }
}

// f32 [n, channels]: the mean over all pixels of each map.
template <typename T> __device__ void global_average(const T* x, float* y, unsigned n, unsigned pixels, unsigned channels) {
    FOR_EACH(i, n * channels) {
        const T* map = x + i / channels * pixels * channels + i % channels;
        float sum = 0.0f;
        for (unsigned p = 0; p < pixels; p++) sum += map[p * channels].get();
        y[i] = sum / (float)pixels;
    }
}

// Over the channels of each row, which a warp takes together: (x - mean) / sqrt(variance + eps) * scale + bias.
template <typename T, int V> __device__ void layer_norm(const T* x, const float* scale, const float* bias, T* y, unsigned rows, unsigned channels, float eps) {
    unsigned vectors = channels / V, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    for (unsigned row = blockIdx.x * warps + threadIdx.x / WARP; row < rows; row += gridDim.x * warps) {
        const Pack<T, V>* in = (const Pack<T, V>*)x + row * vectors;
        Pack<T, V>* out = (Pack<T, V>*)y + row * vectors;
        float sum = 0.0f, squares = 0.0f;
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v];
            for (int j = 0; j < V; j++) sum += value.at[j].get();
        }
        float mean = warp_sum(sum) / (float)channels;
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v];
            for (int j = 0; j < V; j++) {
                float centred = value.at[j].get() - mean;
                squares += centred * centred;
            }
        }
        float deviation = sqrtf(warp_sum(squares) / (float)channels + eps);
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v];
            float factor[V], shift[V];
            read<V>(scale + v * V, factor);
            read<V>(bias + v * V, shift);
            for (int j = 0; j < V; j++)
                value.at[j].set((value.at[j].get() - mean) / deviation * factor[j] + shift[j]);
            out[v] = value;
        }
    }
}

// f32 [rows, columns]: 0 where the 24 upper bits of a random word are below the threshold, else `kept`. Row i is the stream (step, i)
// of taper_core::random: Philox4x32-10, block after block of four words.
extern "C" __global__ void dropout_mask(float* y, unsigned rows, unsigned columns, unsigned key0, unsigned key1, unsigned step, unsigned threshold, float kept) {
    unsigned blocks = (columns + 3) / 4;
    FOR_EACH(i, rows * blocks) {
        unsigned row = i / blocks, block = i % blocks;
        unsigned word[4] = {block, step, row, 0}, k0 = key0, k1 = key1;
        for (int round = 0; round < 10; round++) {
            unsigned long long p0 = 0xd2511f53ull * word[0], p1 = 0xcd9e8d57ull * word[2];
            word[0] = (unsigned)(p1 >> 32) ^ word[1] ^ k0;
            word[1] = (unsigned)p1;
            word[2] = (unsigned)(p0 >> 32) ^ word[3] ^ k1;
            word[3] = (unsigned)p0;
            k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
        }
        for (unsigned j = 0; j < 4 && block * 4 + j < columns; j++)
            y[row * columns + block * 4 + j] = word[j] >> 8 < threshold ? 0.0f : kept;
    }
}

// V neighbouring sums.
template <int V> __device__ void write(float* to, const float* from) {
    if (V % 4 == 0) {
        Pack<F32, 4>* packs = (Pack<F32, 4>*)to;
        for (int i = 0; i < V / 4; i++) {
            Pack<F32, 4> pack;
            for (int j = 0; j < 4; j++) pack.at[j].bits = from[4 * i + j];
            packs[i] = pack;
        }
    } else {
        for (int j = 0; j < V; j++) to[j] = from[j];
    }
}

// The window whose tap `tap` lies on the pixel `at` of a side, or one beyond all windows. Below 0 wraps round to far beyond.
__device__ unsigned window_of(unsigned at, unsigned before, unsigned tap, unsigned dilation, unsigned stride) {
    unsigned from = at + before - tap * dilation;
    return from % stride ? 0xffffffffu : from / stride;
}

// The maps' gradient of `depthwise`: each pixel gathers from the windows that it lies in.
template <typename T, int V> __device__ void depthwise_data(const T* dy, const float* weights, T* dx, Window w) {
    const Pack<T, V>* in = (const Pack<T, V>*)dy;
    Pack<T, V>* out = (Pack<T, V>*)dx;
    unsigned vectors = w.channels / V;
    FOR_EACH(i, w.n * w.height * w.width * vectors) {
        unsigned v = i % vectors, rest = i / vectors;
        unsigned ix = rest % w.width; rest /= w.width;
        unsigned iy = rest % w.height, n = rest / w.height;
        float sum[V], tap[V];
        for (int j = 0; j < V; j++) sum[j] = 0.0f;
        for (unsigned ky = 0; ky < w.kernel; ky++) {
            unsigned oy = window_of(iy, w.top, ky, w.dilation, w.stride);
            if (oy >= w.out_height) continue;
            for (unsigned kx = 0; kx < w.kernel; kx++) {
                unsigned ox = window_of(ix, w.left, kx, w.dilation, w.stride);
                if (ox >= w.out_width) continue;
                Pack<T, V> value = in[((n * w.out_height + oy) * w.out_width + ox) * vectors + v];
                read<V>(weights + (ky * w.kernel + kx) * w.channels + v * V, tap);
                for (int j = 0; j < V; j++) sum[j] += value.at[j].get() * tap[j];
            }
        }
        Pack<T, V> result;
        for (int j = 0; j < V; j++) result.at[j].set(sum[j]);
        out[i] = result;
    }
}

// The filters' gradient of `depthwise`, as sums f32 [chunks, kernel * kernel, channels]: a chunk takes every so many-th window.
template <typename T, int V> __device__ void depthwise_weights(const T* x, const T* dy, float* sums, Window w, unsigned chunks) {
    const Pack<T, V>* in = (const Pack<T, V>*)x;
    const Pack<T, V>* gradient = (const Pack<T, V>*)dy;
    unsigned vectors = w.channels / V, taps = w.kernel * w.kernel, windows = w.n * w.out_height * w.out_width;
    FOR_EACH(i, chunks * taps * vectors) {
        unsigned v = i % vectors, tap = i / vectors % taps, chunk = i / vectors / taps;
        unsigned ky = tap / w.kernel, kx = tap % w.kernel;
        float sum[V];
        for (int j = 0; j < V; j++) sum[j] = 0.0f;
        for (unsigned p = chunk; p < windows; p += chunks) {
            unsigned ox = p % w.out_width, oy = p / w.out_width % w.out_height, n = p / w.out_width / w.out_height;
            unsigned iy = oy * w.stride + ky * w.dilation - w.top, ix = ox * w.stride + kx * w.dilation - w.left;
            if (iy >= w.height || ix >= w.width) continue;
            Pack<T, V> value = in[((n * w.height + iy) * w.width + ix) * vectors + v], slope = gradient[p * vectors + v];
            for (int j = 0; j < V; j++) sum[j] += value.at[j].get() * slope.at[j].get();
        }
        write<V>(sums + i * V, sum);
    }
}

// The transpose of `unfold`: each pixel gathers its copies.
template <typename T, int V> __device__ void fold(const T* columns, T* dx, Window w) {
    const Pack<T, V>* in = (const Pack<T, V>*)columns;
    Pack<T, V>* out = (Pack<T, V>*)dx;
    unsigned vectors = w.channels / V;
    FOR_EACH(i, w.n * w.height * w.width * vectors) {
        unsigned v = i % vectors, rest = i / vectors;
        unsigned ix = rest % w.width; rest /= w.width;
        unsigned iy = rest % w.height, n = rest / w.height;
        float sum[V];
        for (int j = 0; j < V; j++) sum[j] = 0.0f;
        for (unsigned ky = 0; ky < w.kernel; ky++) {
            unsigned oy = window_of(iy, w.top, ky, w.dilation, w.stride);
            if (oy >= w.out_height) continue;
            for (unsigned kx = 0; kx < w.kernel; kx++) {
                unsigned ox = window_of(ix, w.left, kx, w.dilation, w.stride);
                if (ox >= w.out_width) continue;
                unsigned row = (n * w.out_height + oy) * w.out_width + ox;
                Pack<T, V> value = in[(row * w.kernel * w.kernel + ky * w.kernel + kx) * vectors + v];
                for (int j = 0; j < V; j++) sum[j] += value.at[j].get();
            }
        }
        Pack<T, V> result;
        for (int j = 0; j < V; j++) result.at[j].set(sum[j]);
        out[i] = result;
    }
}

// The gradient of `max_pool`: each pixel takes that of the windows whose first maximum it is.
template <typename T, int V> __device__ void max_pool_gradient(const T* x, const T* dy, T* dx, Window w) {
    const Pack<T, V>* in = (const Pack<T, V>*)x;
    const Pack<T, V>* gradient = (const Pack<T, V>*)dy;
    Pack<T, V>* out = (Pack<T, V>*)dx;
    unsigned vectors = w.channels / V;
    FOR_EACH(i, w.n * w.height * w.width * vectors) {
        unsigned v = i % vectors, rest = i / vectors;
        unsigned ix = rest % w.width; rest /= w.width;
        unsigned iy = rest % w.height, n = rest / w.height;
        float sum[V];
        for (int j = 0; j < V; j++) sum[j] = 0.0f;
        for (unsigned own = 0; own < w.kernel * w.kernel; own++) {
            unsigned oy = window_of(iy, w.top, own / w.kernel, 1, w.stride), ox = window_of(ix, w.left, own % w.kernel, 1, w.stride);
            if (oy >= w.out_height || ox >= w.out_width) continue;
            float highest[V];
            unsigned winner[V];
            for (int j = 0; j < V; j++) highest[j] = bits_float(0xff800000u), winner[j] = 0xffffffffu;
            for (unsigned tap = 0; tap < w.kernel * w.kernel; tap++) {
                unsigned y = oy * w.stride + tap / w.kernel - w.top, at = ox * w.stride + tap % w.kernel - w.left;
                if (y >= w.height || at >= w.width) continue;
                Pack<T, V> value = in[((n * w.height + y) * w.width + at) * vectors + v];
                for (int j = 0; j < V; j++) {
                    float f = value.at[j].get();
                    if (f > highest[j] || f != f) highest[j] = f, winner[j] = tap;
                }
            }
            Pack<T, V> slope = gradient[((n * w.out_height + oy) * w.out_width + ox) * vectors + v];
            for (int j = 0; j < V; j++)
                if (winner[j] == own) sum[j] += slope.at[j].get();
        }
        Pack<T, V> result;
        for (int j = 0; j < V; j++) result.at[j].set(sum[j]);
        out[i] = result;
    }
}

// Sums f32 [chunks, 2, channels] over rows: of a - shift_a, and of its products with b - shift_b. A shift of null is none; a b of
// null gives 0. A chunk takes every so many-th row.
template <typename T, int V> __device__ void column_sums(const T* a, const T* b, const float* shift_a, const float* shift_b, float* sums, unsigned rows, unsigned channels, unsigned chunks) {
    const Pack<T, V>* first = (const Pack<T, V>*)a;
    const Pack<T, V>* second = (const Pack<T, V>*)b;
    unsigned vectors = channels / V;
    FOR_EACH(i, chunks * vectors) {
        unsigned v = i % vectors, chunk = i / vectors;
        float sum[V], products[V], from_a[V], from_b[V];
        for (int j = 0; j < V; j++) sum[j] = products[j] = from_a[j] = from_b[j] = 0.0f;
        if (shift_a) read<V>(shift_a + v * V, from_a);
        if (shift_b) read<V>(shift_b + v * V, from_b);
        for (unsigned row = chunk; row < rows; row += chunks) {
            Pack<T, V> value = first[row * vectors + v], other = value;
            if (b) other = second[row * vectors + v];
            for (int j = 0; j < V; j++) {
                float f = value.at[j].get() - from_a[j];
                sum[j] += f;
                if (b) products[j] += f * (other.at[j].get() - from_b[j]);
            }
        }
        write<V>(sums + chunk * 2 * channels + v * V, sum);
        write<V>(sums + (chunk * 2 + 1) * channels + v * V, products);
    }
}

// f32 [rows, columns] to [groups, columns]: the sums of every so many-th row.
extern "C" __global__ void total(const float* x, float* y, unsigned rows, unsigned columns, unsigned groups) {
    FOR_EACH(i, groups * columns) {
        float sum = 0.0f;
        for (unsigned row = i / columns; row < rows; row += groups) sum += x[row * columns + i % columns];
        y[i] = sum;
    }
}

// Adam's moments f32 [2, count] after a gradient: each moves by its share towards the gradient, and towards its square.
extern "C" __global__ void moments(float* moments, const float* gradient, unsigned count, float share1, float share2) {
    FOR_EACH(i, count) {
        float g = gradient[i];
        moments[i] += (g - moments[i]) * share1;
        moments[count + i] += (g * g - moments[count + i]) * share2;
    }
}

// A step along the first moment, over the root of the second.
extern "C" __global__ void adam_step(float* values, const float* moments, unsigned count, float kept, float step, float epsilon) {
    FOR_EACH(i, count) values[i] = values[i] * kept - step * moments[i] / (sqrtf(moments[count + i]) + epsilon);
}

// y = a * factors[0] + b * factors[1] + factors[2], with factors f32 [3, channels]; a b of null is none.
template <typename T, int V> __device__ void combine(const T* a, const T* b, const float* factors, T* y, unsigned rows, unsigned channels) {
    const Pack<T, V>* first = (const Pack<T, V>*)a;
    const Pack<T, V>* second = (const Pack<T, V>*)b;
    Pack<T, V>* out = (Pack<T, V>*)y;
    unsigned vectors = channels / V;
    FOR_EACH(i, rows * vectors) {
        unsigned v = i % vectors;
        float own[V], other[V], shift[V];
        read<V>(factors + v * V, own);
        read<V>(factors + 2 * channels + v * V, shift);
        Pack<T, V> value = first[i];
        for (int j = 0; j < V; j++) shift[j] += value.at[j].get() * own[j];
        if (b) {
            read<V>(factors + channels + v * V, other);
            value = second[i];
            for (int j = 0; j < V; j++) shift[j] += value.at[j].get() * other[j];
        }
        for (int j = 0; j < V; j++) value.at[j].set(shift[j]);
        out[i] = value;
    }
}

// An activation of `count` values, and its gradient: ReLUs' from what they gave, GELU's and the like from what they were given.
template <typename T, int V> __device__ void activated(const T* x, T* y, unsigned count, unsigned activation) {
    FOR_EACH(i, count / V) {
        Pack<T, V> value = ((const Pack<T, V>*)x)[i];
        for (int j = 0; j < V; j++) value.at[j].set(activate(value.at[j].get(), activation));
        ((Pack<T, V>*)y)[i] = value;
    }
}

template <typename T, int V> __device__ void activation_gradient(const T* kept, const T* dy, T* dx, unsigned count, unsigned activation) {
    FOR_EACH(i, count / V) {
        Pack<T, V> value = ((const Pack<T, V>*)kept)[i], slope = ((const Pack<T, V>*)dy)[i];
        for (int j = 0; j < V; j++) {
            float f = value.at[j].get(), factor = f > 0.0f && (activation == 1 || f < 6.0f) ? 1.0f : 0.0f;
            if (activation == 3) factor = 0.5f * (1.0f + erff(f * 0.70710678f)) + f * 0.39894228f * expf(-0.5f * f * f);
            if (activation == 4) factor = sigmoid_slope(1.702f * f, 1.702f * f);
            if (activation == 5) factor = sigmoid_slope(1.5957691f * (f + 0.044715f * f * f * f), 1.5957691f * (f + 0.134145f * f * f * f));
            slope.at[j].set(slope.at[j].get() * factor);
        }
        ((Pack<T, V>*)dx)[i] = slope;
    }
}

// The gradient of `layer_norm` with respect to x, rows * channels values, and behind it the normalised x, as many.
template <typename T, int V> __device__ void layer_norm_gradient(const T* x, const T* dy, const float* scale, T* dx, unsigned rows, unsigned channels, float eps) {
    unsigned vectors = channels / V, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    for (unsigned row = blockIdx.x * warps + threadIdx.x / WARP; row < rows; row += gridDim.x * warps) {
        const Pack<T, V>* in = (const Pack<T, V>*)x + row * vectors;
        const Pack<T, V>* gradient = (const Pack<T, V>*)dy + row * vectors;
        Pack<T, V>* out = (Pack<T, V>*)dx + row * vectors;
        Pack<T, V>* normalised = (Pack<T, V>*)dx + (rows + row) * vectors;
        float sum = 0.0f, squares = 0.0f, slopes = 0.0f, products = 0.0f, factor[V];
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v];
            for (int j = 0; j < V; j++) sum += value.at[j].get();
        }
        float mean = warp_sum(sum) / (float)channels;
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v];
            for (int j = 0; j < V; j++) squares += (value.at[j].get() - mean) * (value.at[j].get() - mean);
        }
        float deviation = sqrtf(warp_sum(squares) / (float)channels + eps);
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v], slope = gradient[v];
            read<V>(scale + v * V, factor);
            for (int j = 0; j < V; j++) {
                float own = slope.at[j].get() * factor[j];
                slopes += own, products += own * ((value.at[j].get() - mean) / deviation);
            }
        }
        slopes = warp_sum(slopes) / (float)channels, products = warp_sum(products) / (float)channels;
        for (unsigned v = lane; v < vectors; v += WARP) {
            Pack<T, V> value = in[v], slope = gradient[v];
            read<V>(scale + v * V, factor);
            for (int j = 0; j < V; j++) {
                float own = (value.at[j].get() - mean) / deviation;
                slope.at[j].set((slope.at[j].get() * factor[j] - slopes - own * products) / deviation);
                value.at[j].set(own);
            }
            out[v] = slope;
            normalised[v] = value;
        }
    }
}

#define VECTORS(T, name, V) \
    extern "C" __global__ void unfold_##name##_##V(const T* x, T* y, Window w) { unfold<T, V>(x, y, w); } \
    extern "C" __global__ void depthwise_##name##_##V(const T* x, const float* weights, const float* bias, T* y, Window w) { \
        depthwise<T, V>(x, weights, bias, y, w); \
    } \
    extern "C" __global__ void pointwise_##name##_##V(const T* x, const float* weights, const float* bias, const T* residual, T* y, unsigned pixels, unsigned in, unsigned out, unsigned activation) { \
        pointwise<T, V>(x, weights, bias, residual, y, pixels, in, out, activation); \
    } \
    extern "C" __global__ void max_pool_##name##_##V(const T* x, T* y, Window w) { max_pool<T, V>(x, y, w); } \
    extern "C" __global__ void finish_##name##_##V(T* y, const float* bias, const T* residual, unsigned rows, unsigned channels, unsigned activation) { \
        finish<T, V>(y, bias, residual, rows, channels, activation); \
    } \
    extern "C" __global__ void layer_norm_##name##_##V(const T* x, const float* scale, const float* bias, T* y, unsigned rows, unsigned channels, float eps) { \
        layer_norm<T, V>(x, scale, bias, y, rows, channels, eps); \
    } \
    extern "C" __global__ void depthwise_data_##name##_##V(const T* dy, const float* weights, T* dx, Window w) { \
        depthwise_data<T, V>(dy, weights, dx, w); \
    } \
    extern "C" __global__ void depthwise_weights_##name##_##V(const T* x, const T* dy, float* sums, Window w, unsigned chunks) { \
        depthwise_weights<T, V>(x, dy, sums, w, chunks); \
    } \
    extern "C" __global__ void fold_##name##_##V(const T* columns, T* dx, Window w) { fold<T, V>(columns, dx, w); } \
    extern "C" __global__ void max_pool_gradient_##name##_##V(const T* x, const T* dy, T* dx, Window w) { \
        max_pool_gradient<T, V>(x, dy, dx, w); \
    } \
    extern "C" __global__ void column_sums_##name##_##V(const T* a, const T* b, const float* shift_a, const float* shift_b, float* sums, unsigned rows, unsigned channels, unsigned chunks) { \
        column_sums<T, V>(a, b, shift_a, shift_b, sums, rows, channels, chunks); \
    } \
    extern "C" __global__ void combine_##name##_##V(const T* a, const T* b, const float* factors, T* y, unsigned rows, unsigned channels) { \
        combine<T, V>(a, b, factors, y, rows, channels); \
    } \
    extern "C" __global__ void activated_##name##_##V(const T* x, T* y, unsigned count, unsigned activation) { \
        activated<T, V>(x, y, count, activation); \
    } \
    extern "C" __global__ void activation_gradient_##name##_##V(const T* kept, const T* dy, T* dx, unsigned count, unsigned activation) { \
        activation_gradient<T, V>(kept, dy, dx, count, activation); \
    } \
    extern "C" __global__ void layer_norm_gradient_##name##_##V(const T* x, const T* dy, const float* scale, T* dx, unsigned rows, unsigned channels, float eps) { \
        layer_norm_gradient<T, V>(x, dy, scale, dx, rows, channels, eps); \
    }
#define ALL(T, name, V) \
    VECTORS(T, name, 1) \
    VECTORS(T, name, V) \
    extern "C" __global__ void normalise_##name(const u8* x, T* y, unsigned pixels, unsigned channels, Affine affine) { \
        normalise<T>(x, y, pixels, channels, affine); \
    } \
    extern "C" __global__ void global_average_##name(const T* x, float* y, unsigned n, unsigned pixels, unsigned channels) { \
        global_average<T>(x, y, n, pixels, channels); \
    }

ALL(F32, f32, 4)
ALL(F16, f16, 8)
ALL(BF16, bf16, 8)
