export class Size {
  constructor(
    readonly width: number,
    readonly height: number,
  ) {}

  toString(): string {
    return `${this.width}x${this.height}`;
  }
}
