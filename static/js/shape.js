/** A box in the shape of what it shows: an upright clip gets an upright box, without black sides. */

/** @param {HTMLElement} box @param {number} width @param {number} height of the picture; 0: not known yet */
export function shape(box, width, height) {
  if (width <= 0 || height <= 0) return;
  box.dataset.shape = height > width ? "tall" : "wide";
  box.style.setProperty("--ratio", String(width / height));
}

/** Keep a box in the shape of a video or a picture, whatever is put into it. @param {HTMLElement} box @param {HTMLVideoElement | HTMLImageElement} inside */
export function fitTo(box, inside) {
  const look = () => {
    if (inside instanceof HTMLVideoElement) shape(box, inside.videoWidth, inside.videoHeight);
    else shape(box, inside.naturalWidth, inside.naturalHeight);
  };
  for (const event of ["load", "loadedmetadata", "resize"]) inside.addEventListener(event, look);
}
