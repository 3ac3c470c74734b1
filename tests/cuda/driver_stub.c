/* Stands in for NVIDIA's driver where there is none, so that cuDNN can plan. Its libraries ask for
 * these functions: some as they are loaded, some by name, with a complaint for each that is missing.
 * Most take no arguments here because none of those looks at its arguments. */

enum { SUCCESS = 0, NO_DEVICE = 100 };

#define ABSENT(name)      \
    int name(void) {      \
        return NO_DEVICE; \
    }

int cuGetErrorString(int error, const char **words) {
    (void)error;
    *words = "there is no driver";
    return SUCCESS;
}

int cuGetErrorName(int error, const char **words) {
    return cuGetErrorString(error, words);
}

int cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}

/* With no device, cuDNN compiles its kernels but loads none of them. */
int cuDeviceGetCount(int *count) {
    *count = 0;
    return NO_DEVICE;
}

/* Wanted as the compiled engines are loaded. */
ABSENT(cuModuleGetFunction)
ABSENT(cuModuleLoadData)
ABSENT(cuModuleUnload)
ABSENT(cuTensorMapEncodeIm2col)
ABSENT(cuTensorMapEncodeTiled)

/* Asked for by name. */
ABSENT(cuCtxGetCurrent)
ABSENT(cuCtxGetLimit)
ABSENT(cuCtxPopCurrent)
ABSENT(cuCtxPushCurrent)
ABSENT(cuDeviceGet)
ABSENT(cuKernelGetAttribute)
ABSENT(cuKernelGetFunction)
ABSENT(cuKernelSetAttribute)
ABSENT(cuLaunchCooperativeKernel)
ABSENT(cuLaunchKernel)
ABSENT(cuLaunchKernelEx)
ABSENT(cuLibraryGetKernel)
ABSENT(cuLibraryLoadData)
ABSENT(cuLibraryLoadFromFile)
ABSENT(cuLibraryUnload)
ABSENT(cuLinkAddData)
ABSENT(cuLinkComplete)
ABSENT(cuLinkCreate)
ABSENT(cuLinkDestroy)
ABSENT(cuOccupancyMaxPotentialClusterSize)
ABSENT(cuStreamGetCtx)
