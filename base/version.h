#ifndef TMAC_BASE_VERSION_H
#define TMAC_BASE_VERSION_H

#define TMAC_VERSION "0.1.0"

#endif
