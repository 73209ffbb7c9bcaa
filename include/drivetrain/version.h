/**
 * version.h - which drivetrain this is.
 */
#ifndef DRIVETRAIN_VERSION_H
#define DRIVETRAIN_VERSION_H

#define DT_VERSION "0.1.0"

#endif
