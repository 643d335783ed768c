"""A ready R script that reproduces the main estimates from ``measurements.tsv`` with lme4."""

from pathlib import Path

from isocenter.io.nifti import write_bytes

_SCRIPT = r"""#!/usr/bin/env Rscript
# Variance components, repeatability, intermediate precision and RDC of every metric, from measurements.tsv by lme4.
#
#   Rscript reproduce.R [FOLDER]      FOLDER holds measurements.tsv and variance_components.tsv; here by default
#
# Writes r_estimates.tsv: lme4's variances beside those of variance_components.tsv. Models are those of the tables:
# y = mean + subject + site + subject:site + session(subject:site) + residual, less what a design cannot tell apart;
# two sites are fixed differences. Bounds (MLS) stand in reproducibility.tsv and are not repeated here.
suppressPackageStartupMessages(library(lme4))

arguments <- commandArgs(trailingOnly = TRUE)
folder <- if (length(arguments)) arguments[1] else "."
read <- function(name) {
  table <- read.delim(file.path(folder, name), na.strings = "n/a", quote = "", comment.char = "",
                      colClasses = "character", check.names = FALSE, encoding = "UTF-8")
  table[is.na(table)] <- NA
  table
}
number <- function(x) suppressWarnings(as.numeric(x))
text <- function(x) ifelse(is.na(x), "", x)

measurements <- read("measurements.tsv")
for (column in c("kind", "roi", "site", "session", "run", "raw_value", "field_strength")) {
  if (is.null(measurements[[column]])) measurements[[column]] <- NA
}
measurements <- measurements[text(measurements$kind) %in% c("", "traveler", "volunteer", "patient"), ]
measurements$nominal <- round(number(measurements$field_strength) * 2) / 2

components <- read("variance_components.tsv")
components$key <- with(components, paste(biomarker, text(roi), scale, text(field_strength), text(stage), sep = "|"))
terms <- c("subject" = "(1 | s)", "site" = "(1 | t)", "subject:site" = "(1 | s:t)", "session" = "(1 | s:t:v)")
factor_name <- c("subject" = "s", "site" = "t", "subject:site" = "s:t", "session" = "s:t:v")

# One optimizer alone may stop short where a component is hundreds of times the residual, so another goes on from where
# it stopped, and the lower deviance is taken.
best_fit <- function(formula, d) {
  run <- function(optimizer, options, start = NULL) {
    control <- lmerControl(optimizer = optimizer, optCtrl = options,
                           check.nobs.vs.nlev = "ignore", check.nobs.vs.rankZ = "ignore",
                           check.nobs.vs.nRE = "ignore", check.nlev.gtr.1 = "ignore",
                           check.conv.singular = "ignore", check.conv.grad = "ignore", check.conv.hess = "ignore")
    suppressWarnings(suppressMessages(lmer(formula, data = d, REML = TRUE, control = control, start = start)))
  }
  fit <- run("bobyqa", list(rhoend = 1e-10, maxfun = 1e5))
  for (again in 1:3) {
    other <- run("Nelder_Mead", list(maxfun = 1e5, FtolAbs = 1e-14, FtolRel = 1e-15, XtolRel = 1e-10),
                 getME(fit, "theta"))
    if (REMLcrit(other) >= REMLcrit(fit)) break
    fit <- other
  }
  fit
}

estimate <- function(ours) {
  first <- ours[1, ]
  stage <- text(first$stage)
  data <- measurements[measurements$biomarker == first$biomarker & text(measurements$roi) == text(first$roi), ]
  if (!is.na(first$field_strength) && grepl("stratified_by_field_strength", text(first$flags))) {
    data <- data[!is.na(data$nominal) & data$nominal == number(first$field_strength), ]
  }
  y <- number(if (stage == "raw") data$raw_value else data$value)
  if (first$scale == "log") y <- suppressWarnings(log(y))
  d <- data.frame(y = y, s = factor(data$participant_id), t = factor(text(data$site)), v = factor(text(data$session)))
  d <- droplevels(d[is.finite(d$y), ])
  wanted <- ours$component[is.finite(number(ours$variance)) & ours$component != "residual"]
  if (!any(is.finite(number(ours$variance[ours$component == "residual"]))) || nrow(d) < 3) return(NULL)
  if (grepl("zero_within_variance", text(first$flags))) return(NULL)
  session <- text(ours$flags[ours$component == "session"])
  fixed <- if (nlevels(d$t) == 2) "t" else "1"
  if (length(wanted)) {
    formula <- as.formula(paste("y ~", fixed, "+", paste(terms[wanted], collapse = " + ")))
    fit <- best_fit(formula, d)
    table <- as.data.frame(VarCorr(fit))
    found <- table$vcov[match(factor_name[wanted], sub("^v:t:s$", "s:t:v", sub("^t:s$", "s:t", table$grp)))]
    names(found) <- wanted
    found["residual"] <- sigma(fit)^2
    deviance <- as.numeric(REMLcrit(fit))
  } else {
    fit <- lm(as.formula(paste("y ~", fixed)), data = d)
    found <- c("residual" = summary(fit)$sigma^2)
    deviance <- NA
  }
  data.frame(first[c("biomarker", "roi", "unit", "scale", "field_strength", "stage")], component = names(found),
             variance_lme4 = found, variance = number(ours$variance[match(names(found), ours$component)]),
             reml_criterion = deviance, only_sessions = grepl("merged_into_residual", session), row.names = NULL)
}

results <- do.call(rbind, lapply(split(components, factor(components$key, unique(components$key))), estimate))
if (is.null(results)) stop("no metric could be estimated")
metric <- with(results, paste(biomarker, text(roi), scale, text(field_strength), text(stage), sep = "|"))
total <- ave(results$variance_lme4, metric, FUN = sum)
results$difference_of_total <- (results$variance - results$variance_lme4) / total
K <- qnorm(0.975) * sqrt(2)
coefficients <- lapply(split(results, factor(metric, unique(metric))), function(rows) {
  v <- setNames(rows$variance_lme4, rows$component)
  take <- function(names) K * sqrt(sum(v[intersect(names, names(v))]))
  data.frame(metric = rows$biomarker[1], roi = text(rows$roi[1]), scale = rows$scale[1], stage = text(rows$stage[1]),
             repeatability = if (rows$only_sessions[1]) NA else take("residual"),
             intermediate_precision = if ("session" %in% names(v) || rows$only_sessions[1]) {
               take(c("session", "residual"))
             } else NA,
             reproducibility = if ("site" %in% names(v)) take(c("site", "subject:site", "session", "residual")) else NA)
})
write.table(results, file.path(folder, "r_estimates.tsv"), sep = "\t", quote = FALSE, row.names = FALSE, na = "n/a")
print(do.call(rbind, coefficients), row.names = FALSE, digits = 5)
worst <- max(abs(results$difference_of_total), na.rm = TRUE)
cat(sprintf("largest difference between lme4 %s and variance_components.tsv: %.2g of a metric's total variance\n",
            packageVersion("lme4"), worst))
"""


def write_r_script(path: Path) -> Path:
    """Write the script; it belongs into the folder that holds the tables."""
    write_bytes(path, _SCRIPT.encode("utf-8"))
    return path
