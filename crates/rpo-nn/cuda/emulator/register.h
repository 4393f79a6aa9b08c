// Registers the kernels of one `.cu` with the emulated GPU; included at the end of the file that generate.py makes.
#pragma once

#include <utility>

namespace emulated {

void add_kernel(const char* name, void (*invoke)(void** params), unsigned bound);

// Unpacks the parameters of a launch as the types of the kernel's own declaration say.
template <auto KERNEL, class... P, size_t... I>
void call(void (*)(P...), void** params, std::index_sequence<I...>) {
    KERNEL(*static_cast<std::remove_cv_t<P>*>(params[I])...);
}
template <auto KERNEL, class... P>
void unpack(void (*type)(P...), void** params) {
    call<KERNEL>(type, params, std::index_sequence_for<P...>{});
}

template <auto KERNEL>
struct Register {
    static void invoke(void** params) { unpack<KERNEL>(KERNEL, params); }
    Register(const char* name, unsigned bound) { add_kernel(name, invoke, bound); }
};

}  // namespace emulated
